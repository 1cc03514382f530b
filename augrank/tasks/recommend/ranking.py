"""Compare and rank candidates and alternates, best first, as an answer lists them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.images.decode import RgbImage
from augrank.models.targets import Direction
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.plan import RequestPlan
from augrank.tasks.recommend.response import (
    AlternateScore,
    CandidateScore,
    Score,
    Verdict,
)
from augrank.tasks.recommend.wording import ALTERNATES, CANDIDATES, verdict
from augrank.trust.verdict import decide, interval

THUMBNAIL_SIDE_PX, THUMBNAIL_QUALITY = 160, 80  # the side at most
DIGITS = 6  # of probabilities
AnyScore = TypeVar("AnyScore", bound=Score)


@dataclass(frozen=True)
class RankedCandidates:
    """The candidates of one request, best first."""

    scores: tuple[CandidateScore, ...]
    original: CandidateScore
    best: CandidateScore  # recommended; the original unless the verdict is ``change``
    verdict: Verdict


@dataclass(frozen=True)
class RankedAlternates:
    """The alternates of one request, best first."""

    scores: tuple[AlternateScore, ...] = ()
    best: AlternateScore | None = None  # recommended, if the verdict is ``change``
    verdict: Verdict | None = None  # None if no alternate was considered


def rank_candidates(
    plan: RequestPlan, draws: Float64Array, thumbnails: Sequence[str]
) -> RankedCandidates:
    """Rank candidates. Ties keep the bundle's order, so the original comes first.

    Args:
        plan: its augmentations are in the order of the draws, the original first.
        draws: of the candidates' probabilities, (M, N).
        thumbnails: one for each augmentation, or none.
    """
    target, reference = plan.target, draws[:, 0]
    decision = decide(draws[:, 1:], reference, target.direction, plan.request.min_lift)
    fields = _fields(draws, reference, np.append(False, decision.better))
    scores = [
        CandidateScore(
            **fields[row],
            name=augmentation.name,
            parameters=augmentation.parameters(),
            thumbnail=thumbnails[row] if thumbnails else None,
        )
        for row, augmentation in enumerate(plan.augmentations)
    ]
    chosen = None if decision.option is None else scores[1 + decision.option]
    return RankedCandidates(
        scores=_sorted(scores, target.direction),
        original=scores[0],
        best=(chosen or scores[0]).model_copy(update={"thumbnail": None}),
        verdict=verdict(decision, target, chosen.name if chosen else None, chosen, CANDIDATES),
    )


def rank_alternates(
    plan: RequestPlan,
    alternates: Alternates,
    rows: NDArray[np.int64],
    draws: Float64Array,
    reference: Float64Array,
) -> RankedAlternates:
    """Rank alternates; all are considered, the first ones are listed.

    Args:
        plan: of the request.
        alternates: the catalogue.
        rows: (N,) rows of the alternates considered.
        draws: of their probabilities, (M, N).
        reference: draws of the probability of the request's image, (M,).
    """
    target, request = plan.target, plan.request
    decision = decide(draws, reference, target.direction, request.min_lift)
    order = _order(draws.mean(axis=0), target.direction)[: request.alternates].tolist()
    if decision.option is not None and decision.option not in order:
        order = [decision.option, *order[:-1]]
    fields = _fields(draws[:, order], reference, decision.better[order])
    scores = {
        option: AlternateScore(
            **fields[place],
            path=alternates.images[rows[option]].path,
            attributes=alternates.images[rows[option]].attributes,
            thumbnail=alternates.thumbnail(int(rows[option])) if request.thumbnails else None,
        )
        for place, option in enumerate(order)
    }
    chosen = None if decision.option is None else scores[decision.option]
    return RankedAlternates(
        scores=tuple(scores.values()),
        best=chosen and chosen.model_copy(update={"thumbnail": None}),
        verdict=verdict(decision, target, chosen.path if chosen else None, chosen, ALTERNATES),
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


def _fields(
    draws: Float64Array, reference: Float64Array, better: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Return the fields of the options' ``Score``s.

    Args:
        draws: of their probabilities, (M, N).
        reference: draws of the probability of the request's image, (M,).
        better: (N,) of the decision.
    """
    differences = draws - reference[:, None]
    probability, difference = draws.mean(axis=0), differences.mean(axis=0)
    base = float(reference.mean())
    ends = np.stack([*interval(draws), *interval(differences)], axis=1).round(DIGITS).tolist()
    return [
        {
            "probability": round(float(probability[row]), DIGITS),
            "interval": (low, high),
            "difference": round(float(difference[row]), DIGITS),
            "difference_interval": (least, most),
            "lift": round(float(difference[row]) / base, 4) if base > 0 else None,
            "better": bool(better[row]),
        }
        for row, (low, high, least, most) in enumerate(ends)
    ]


def _sorted(scores: Sequence[AnyScore], direction: Direction) -> tuple[AnyScore, ...]:
    values = np.array([score.probability for score in scores])
    return tuple(scores[row] for row in _order(values, direction))


def _order(values: Float64Array, direction: Direction) -> NDArray[np.int64]:
    """Return the rows of values, best first; equal ones keep their order."""
    shown = np.round(values, DIGITS)
    return np.argsort(shown if direction == "minimize" else -shown, kind="stable")
