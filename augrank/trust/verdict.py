"""Intervals and verdicts from draws of probabilities.

A verdict considers all options together. Each option's gain over the reference is standardised by
its own mean and deviation; the quantile of the largest deviation over all options gives bounds that
hold for all of them at once (max-t bands; Westfall and Young, 1993). So many options do not make a
recommendation in error more likely than one, as far as the draws describe what is unsure.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.calibration import log_odds
from augrank.models.targets import Direction
from augrank.trust.planner import sends_per_version

LEVEL = 0.9  # of all intervals
# A smaller lift is not worth a change: "keep" means that no option is likely to exceed it.
WORTHWHILE_LIFT = 0.1
Kind = Literal["change", "keep", "unsure"]


@dataclass(frozen=True)
class Decision:
    """What the data say about N options against a reference."""

    kind: Kind
    option: int | None  # the recommended option, if the kind is ``change``
    better: NDArray[np.bool_]  # (N,) options whose lower bound exceeds the reference
    sends: int | None  # of each of two versions, that could tell; if the kind is ``unsure``
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
        min_lift: relative change that the lower bound of a recommended option exceeds.

    Returns:
        ``change`` if the lower bound of an option's gain exceeds ``min_lift``; ``keep`` if no
        option's upper bound exceeds a worthwhile lift; else ``unsure``.
    """
    count = options.shape[1]
    if not count:
        return Decision("keep", None, np.zeros(0, bool), None, None)
    sign = 1.0 if direction == "maximize" else -1.0
    base, gain = float(reference.mean()), sign * (options.mean(axis=0) - reference.mean())
    odds = log_odds(options)
    better = _least(odds, reference, sign, min_lift) > 0
    if better.any():
        best = int(np.argmax(np.where(better, gain, -np.inf)))
        return Decision("change", best, better, None, None)
    worthwhile = max(min_lift, WORTHWHILE_LIFT)
    if (_least(odds, reference, -sign, -worthwhile) > 0).all():  # all fall short of it
        return Decision("keep", None, better, None, worthwhile)
    sends, lift = _experiment(base, sign, min_lift, float(gain.max()))
    return Decision("unsure", None, better, sends, lift)


def _experiment(
    base: float, sign: float, min_lift: float, gain: float
) -> tuple[int | None, float | None]:
    """Return the sends of each of two versions that could tell a lift, and that lift.

    Args:
        base: probability of the reference.
        sign: 1 if a high probability is good, else -1.
        min_lift: the lift to be exceeded.
        gain: of the best option, as estimated; the lift is at least a worthwhile one.
    """
    if base <= 0:
        return None, None
    ratio = 1 + sign * min_lift
    exceeded = base * ratio
    wanted = exceeded + sign * max(gain - base * min_lift, base * WORTHWHILE_LIFT)
    if not 0 < wanted < 1:  # half of what is possible
        wanted = (exceeded + (1 if sign > 0 else 0)) / 2
    sends = sends_per_version(base, wanted, ratio)
    return sends, None if sends is None else round(abs(wanted / base - 1), 4)


def _least(odds: Float64Array, reference: Float64Array, sign: float, lift: float) -> Float64Array:
    """Return simultaneous lower bounds of how far options exceed a lift over the reference, (N,).

    On the scale of log odds, because there the effect of the image cancels: differences of
    probabilities vary with it even where their sign is certain.

    Args:
        odds: draws of the options' log odds, (M, N).
        reference: draws of the reference's probability, (M,).
        sign: 1 to exceed it upwards, -1 downwards.
        lift: relative, in the direction of the sign.
    """
    threshold = log_odds(reference * (1 + sign * lift))
    surplus = odds - threshold[:, None]
    if sign < 0:
        np.negative(surplus, out=surplus)
    mean = surplus.mean(axis=0)
    surplus -= mean
    deviation = np.sqrt(np.einsum("mn,mn->n", surplus, surplus) / len(surplus))
    surplus /= np.maximum(deviation, 1e-12)
    largest = np.sort(-surplus.min(axis=1))
    return np.asarray(mean - _quantile(largest, (1 + LEVEL) / 2) * deviation, np.float64)


def _quantile(ordered: Float64Array, share: float) -> float:
    """Return a quantile of sorted values, linear between them, as numpy's default."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
