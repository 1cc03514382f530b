"""Intervals and verdicts from draws of probabilities.

A verdict considers all options together. Each option's gain over the reference is standardised by
its own mean and deviation; the quantile of the largest deviation over all options gives bounds that
hold for all of them at once (max-t bands; Westfall and Young, 1993). So a change is recommended in
error no more often than stated, however many options there are.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.targets import Direction
from augrank.trust.planner import sends_per_version

LEVEL = 0.9  # of all intervals
EPSILON = 1e-9  # of probabilities, from 0 and 1
# A smaller lift is not worth a change: "keep" means that no option is likely to exceed it.
WORTHWHILE_LIFT = 0.1
Kind = Literal["change", "keep", "unsure"]


@dataclass(frozen=True)
class Decision:
    """What the data say about N options against a reference."""

    kind: Kind
    option: int | None  # the recommended option, if the kind is ``change``
    better: NDArray[np.bool_]  # (N,) options that are surely better than the reference
    sends: int | None  # of each version, that could tell; if the kind is ``unsure``
    lift: float | None  # that these sends could tell; for ``keep``: that no option exceeds


def interval(draws: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the central LEVEL interval of draws (M, N): low and high, (N,) each."""
    count, tail = len(draws), (1 - LEVEL) / 2
    low = max(0, math.floor(tail * (count + 1)) - 1)
    ordered = np.sort(draws, axis=0)
    return ordered[low], ordered[count - 1 - low]


def decide(
    options: Float64Array,
    reference: Float64Array,
    direction: Direction,
    min_lift: float = 0.0,
) -> Decision:
    """Decide whether to replace the reference by one of the options.

    Args:
        options: draws of the options' probabilities, (M, N).
        reference: draws of the reference's probability, (M,).
        direction: whether a high or a low probability is good.
        min_lift: relative change that an option must surely exceed to be recommended.

    Returns:
        ``change`` if the lower bound of an option's gain exceeds ``min_lift``; ``keep`` if no
        option's upper bound exceeds a worthwhile lift; else ``unsure``.
    """
    count = options.shape[1]
    if not count:
        return Decision("keep", None, np.zeros(0, bool), None, None)
    sign = 1.0 if direction == "maximize" else -1.0
    base, gain = float(reference.mean()), sign * (options.mean(axis=0) - reference.mean())
    better = _bounds(options, reference, sign, min_lift)[0] > 0
    if better.any():
        best = int(np.argmax(np.where(better, gain, -np.inf)))
        return Decision("change", best, better, None, None)
    worthwhile = max(min_lift, WORTHWHILE_LIFT)
    if (_bounds(options, reference, sign, worthwhile)[1] < 0).all():
        return Decision("keep", None, better, None, worthwhile)
    lift = max(float(gain.max()) / base, worthwhile) if base > 0 else worthwhile
    sends = sends_per_version(base, base * (1 + sign * lift))
    return Decision("unsure", None, better, sends, round(lift, 4))


def _bounds(
    options: Float64Array, reference: Float64Array, sign: float, lift: float
) -> tuple[Float64Array, Float64Array]:
    """Return simultaneous bounds of how far options exceed a lift over the reference, (N,) each.

    On the scale of log odds, because there the effect of the image cancels: differences of
    probabilities vary with it even where their sign is certain.
    """
    threshold = _log_odds(reference * (1 + sign * lift))
    surplus = sign * (_log_odds(options) - threshold[:, None])
    mean, deviation = surplus.mean(axis=0), surplus.std(axis=0)
    standard = (mean - surplus) / np.maximum(deviation, 1e-12)
    below = np.quantile(standard.max(axis=1), (1 + LEVEL) / 2)
    above = np.quantile((-standard).max(axis=1), (1 + LEVEL) / 2)
    return mean - below * deviation, mean + above * deviation


def _log_odds(probability: Float64Array) -> Float64Array:
    inside = np.clip(probability, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)
