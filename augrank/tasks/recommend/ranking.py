"""Rank candidates and alternates by their scores, best first, as an answer lists them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from augrank.arrays import Float64Array
from augrank.images.augmentations import Augmentation
from augrank.images.decode import RgbImage
from augrank.models.targets import Direction
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.response import AlternateScore, CandidateScore, score_against

THUMBNAIL_SIDE_PX, THUMBNAIL_QUALITY = 160, 80  # the side at most


@dataclass(frozen=True)
class ScoredAlternates:
    """The catalogue's scores for one target and context, and which images may be offered."""

    alternates: Alternates
    scores: Float64Array  # (M,)
    count: int
    product_type: str | None
    image_sha256: str  # the request's image, which is not an alternate to itself
    thumbnails: bool


def rank_candidates(
    augmentations: Sequence[Augmentation],
    scores: Float64Array,
    direction: Direction,
    thumbnails: Sequence[str] | None,
) -> tuple[CandidateScore, ...]:
    """Rank candidates, best first. Ties keep the bundle's order, so the original comes first.

    Args:
        augmentations: in the order of their scores, the original first.
        scores: float64 (N,).
        direction: whether a high or a low score is good.
        thumbnails: one for each augmentation, if requested.
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
    """Rank alternates, best first, each compared with the original's probability."""
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
    """Return a small JPEG of a candidate, as base64.

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
