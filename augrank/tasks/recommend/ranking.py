"""Scores to what an answer lists: candidates and alternates, best first."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.images.augmentations import Augmentation
from augrank.images.decode import RgbImage
from augrank.models.targets import Direction
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.response import AlternateScore, CandidateScore, score_against

THUMBNAIL_SIDE_PX, THUMBNAIL_QUALITY = 160, 80  # the side at most


@dataclass(frozen=True)
class ScoredAlternates:
    """The catalogue under one target and context, and which of it may be offered."""

    alternates: Alternates
    scores: NDArray[np.float64]  # (M,)
    count: int
    product_type: str | None
    image_sha256: str  # of the request's image, which is no alternate to itself
    thumbnails: bool


def rank_candidates(
    augmentations: Sequence[Augmentation],
    scores: NDArray[np.float64],
    direction: Direction,
    thumbnails: Sequence[str] | None,
) -> tuple[CandidateScore, ...]:
    """Best first. Ties keep the bundle's order, so the original wins them.

    Args:
        augmentations: as scored, the original first.
        scores: float64 (N,).
        direction: which way is better.
        thumbnails: one for each augmentation, where wanted.
    """
    shown = np.round(scores, 6)
    order = np.argsort(shown if direction == "minimize" else -shown, kind="stable")
    return tuple(
        CandidateScore(
            **score_against(float(scores[row]), float(scores[0])),
            name=augmentations[row].name,
            parameters=augmentations[row].parameters(),
            thumbnail=thumbnails[row] if thumbnails else None,
        )
        for row in order
    )


def rank_alternates(
    scored: ScoredAlternates | None, direction: Direction, original: float
) -> tuple[AlternateScore, ...]:
    """Best first, against the original's probability."""
    if scored is None:
        return ()
    rows = scored.alternates.best(
        scored.scores,
        count=scored.count,
        minimize=direction == "minimize",
        product_type=scored.product_type,
        image_sha256=scored.image_sha256,
    )
    images = scored.alternates.images
    return tuple(
        AlternateScore(
            **score_against(float(scored.scores[row]), original),
            path=images[row].path,
            attributes=images[row].attributes,
            thumbnail=scored.alternates.thumbnail(row) if scored.thumbnails else None,
        )
        for row in rows
    )


def thumbnail(image: RgbImage) -> str:
    """A small JPEG of a candidate, base64.

    Args:
        image: uint8 (S, S, 3), RGB.
    """
    side = len(image)
    while side > THUMBNAIL_SIDE_PX:  # halving is several times faster than any other scale
        side //= 2
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])
    return base64.b64encode(data.tobytes()).decode()
