"""Figures of decisions whose truth is known: coverage, false switches, power, lift, regret, ECE.

A figure is a ratio of two means over decisions, kept apart so that histories can be pooled: the
share of chosen options whose interval covers the truth, for instance, divides "chosen and covered"
by "chosen".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from training.common.metrics import CALIBRATION_BINS, Z95, clustered_mean

STRATA = 3  # by truth: low, middle, high
STRATUM = "stratum "  # begins the name of a stratum's coverage
Figures = dict[str, tuple[float, float]]  # numerator and denominator by name


@dataclass(frozen=True)
class Judged:
    """An answer about N options, and the truth; probabilities for which more is better.

    The first option is the reference, the image as it is. Without intervals their arrays are
    empty.
    """

    truth: Float64Array  # (N,)
    expected: Float64Array  # (N,) truth without what nothing shows before outcomes; for strata
    probability: Float64Array  # (N,)
    interval: Float64Array  # (2, N) low and high
    difference_interval: Float64Array  # (2, N - 1) of the options after the first
    better: NDArray[np.bool_]  # (N - 1,) claimed to be better than the reference
    chosen: int  # the recommended option; 0: none is recommended
    unsure: bool = False  # it says that the data cannot tell

    @property
    def gain(self) -> Float64Array:
        """By how much the truth of each option exceeds that of the reference, (N,)."""
        return np.asarray(self.truth - self.truth[0], np.float64)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether the interval of each option contains its truth, (N,)."""
        return _inside(self.interval, self.truth)

    @property
    def difference_covered(self) -> NDArray[np.bool_]:
        """Whether the interval of each difference contains the true one, (N - 1,)."""
        return _inside(self.difference_interval, self.gain[1:])


def figures(judged: Sequence[Judged]) -> Figures:
    """Compute the figures of decisions that depend on one history.

    Args:
        judged: the decisions, each about another image, all with or all without intervals.

    Returns:
        ``error``: mean absolute error of probabilities. ``regret``: best truth less that of the
        recommended option. ``false_switch_rate``: decisions that recommend an option no better than
        the reference. ``power``: of decisions with a better option, those that recommend one.
        ``true_over_claimed``: true by claimed gain of what is recommended, each relative to the
        mean truth of the references. ``false_claims``: of options claimed to be better, those that
        are not. ``unsure``. ``ece``: see ``ece_of_truths``. With intervals also ``coverage`` of
        probabilities and ``coverage_difference`` of differences to the reference; ``..._chosen`` of
        recommended options; ``coverage_first`` of the option with the highest estimate; ``stratum
        ...`` of the options that are expected to be best or not, and of thirds of the distinct
        expected truths. (Thirds of the truth itself would be no fair strata where chance has a
        part in it: a perfect interval covers 85 % of the highest third of what is random.)
    """
    found: Figures = {}
    for name, pairs in _by_decision(judged).items():
        found[name] = _mean_pair(pairs, len(judged))
    found["ece"] = (
        ece_of_truths(
            np.concatenate([each.probability for each in judged]),
            np.concatenate([each.truth for each in judged]),
            np.repeat(np.arange(len(judged)), [len(each.truth) for each in judged]),
        ),
        1.0,
    )
    if judged[0].interval.size:
        found |= _coverage(judged)
    return found


@dataclass(frozen=True)
class Pooled:
    """A figure over several histories, with its 95 % interval."""

    value: float
    low: float
    high: float


def pool(histories: Sequence[Figures], name: str) -> Pooled | None:
    """Pool a figure over histories; None if nothing was counted.

    The interval is that of a ratio estimator, with histories as clusters (Cochran, 1977, 6.4).
    """
    pairs = np.array([each[name] for each in histories if name in each])
    if not len(pairs) or not pairs[:, 1].sum():
        return None
    numerator, denominator = pairs.T
    value = float(numerator.sum() / denominator.sum())
    residual = numerator - value * denominator
    correction = len(pairs) / max(1, len(pairs) - 1)
    error = math.sqrt(correction * float(residual @ residual)) / float(denominator.sum())
    low, high = value - Z95 * error, value + Z95 * error
    if ((numerator >= 0) & (numerator <= denominator)).all():  # a share
        low, high = max(0.0, low), min(1.0, high)
    return Pooled(value, low, high)


def worst_stratum(histories: Sequence[Figures]) -> Pooled | None:
    """Return the lowest coverage of a stratum; without strata, that of all options."""
    names = {name for each in histories for name in each if name.startswith(STRATUM)}
    pooled = [found for name in sorted(names) if (found := pool(histories, name))]
    return min(pooled, key=lambda each: each.value, default=pool(histories, "coverage"))


def ece_of_truths(
    probability: Float64Array, truth: Float64Array, image: NDArray[np.int64]
) -> float:
    """Compute the expected calibration error against true probabilities.

    Each bin's squared gap between mean truth and mean prediction is reduced by its sampling
    variance, because a finite sample of images has a gap even if every prediction is right.

    Args:
        probability: predicted, (K,).
        truth: (K,).
        image: of each row, (K,): rows of one image are not independent.
    """
    index = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    total = 0.0
    for number in np.unique(index):
        inside = index == number
        count = int(inside.sum())
        gap, error = clustered_mean(
            truth[inside] - probability[inside], np.ones(count), image[inside]
        )
        total += count * math.sqrt(max(0.0, gap**2 - error**2))
    return total / len(probability)


Pairs = list[tuple[float, float]]


def _by_decision(judged: Sequence[Judged]) -> Mapping[str, Pairs]:
    """Return numerator and denominator of each decision, by figure."""
    base = float(np.mean([each.truth[0] for each in judged]))
    found: dict[str, Pairs] = {}
    for each in judged:
        gain, change = each.gain, each.chosen > 0
        claimed = each.probability[each.chosen] - each.probability[0]
        right = bool(gain[each.chosen] > 0)
        options = len(gain) - 1
        pairs = {
            "error": (np.abs(each.probability - each.truth).mean(), 1),
            "regret": (gain.max() - gain[each.chosen], 1),
            "false_switch_rate": (change and not right, 1),
            "power": (right, gain.max() > 0),
            "true_over_claimed": (gain[each.chosen] / base, claimed / base),
            "false_claims": (
                (each.better & (gain[1:] <= 0)).sum() / options,
                each.better.sum() / options,
            ),
            "unsure": (each.unsure, 1),
        }
        for name, (numerator, denominator) in pairs.items():
            found.setdefault(name, []).append((float(numerator), float(denominator)))
    return found


def _coverage(judged: Sequence[Judged]) -> Figures:
    found: dict[str, Pairs] = {}
    values = np.unique(np.concatenate([each.expected for each in judged]))
    for each in judged:
        change, first = float(each.chosen > 0), int(np.argmax(each.probability))
        covered, differences = each.covered, np.append(True, each.difference_covered)
        pairs = {
            "coverage": (covered.mean(), 1.0),
            "coverage_difference": (each.difference_covered.mean(), 1.0),
            "coverage_chosen": (change * covered[each.chosen], change),
            "coverage_difference_chosen": (change * differences[each.chosen], change),
            "coverage_first": (float(covered[first]), 1.0),
            **_strata(each.expected, covered, values),
        }
        for name, pair in pairs.items():
            found.setdefault(name, []).append(pair)
    return {name: _mean_pair(pairs, len(judged)) for name, pairs in found.items()}


def _strata(
    expected: Float64Array, covered: NDArray[np.bool_], values: Float64Array
) -> dict[str, tuple[float, float]]:
    """Return covered options and all options of each stratum.

    Args:
        expected: expected truths of one decision's options, (N,).
        covered: (N,).
        values: the distinct expected truths of all decisions, ascending.
    """
    strata: dict[str, NDArray[np.bool_]] = {}
    if expected.max() > expected.min():
        best = expected == expected.max()
        strata |= {"best": best, "not best": ~best}
    parts = min(STRATA, len(values))
    if parts > 1:
        third = np.searchsorted(values, expected) * parts // len(values)
        strata |= {f"truth {number + 1} of {parts}": third == number for number in range(parts)}
    return {
        f"{STRATUM}{name}": (float(covered[inside].sum()), float(inside.sum()))
        for name, inside in strata.items()
    }


def _inside(interval: Float64Array, value: Float64Array) -> NDArray[np.bool_]:
    return np.asarray((interval[0] <= value) & (value <= interval[1]), bool)


def _mean_pair(pairs: Pairs, decisions: int) -> tuple[float, float]:
    numerator, denominator = np.sum(pairs, axis=0) / decisions
    return float(numerator), float(denominator)
