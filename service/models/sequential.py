"""Whether a rate has become worse, looked at as often as one likes.

An ordinary test that is repeated every hour raises an alarm sooner or later, whatever is true. Here
the evidence is a likelihood ratio, mixed over several sizes of the effect: a mixture sequential
probability ratio test (Wald 1945; Robbins 1970; Johari et al. 2017, "Peeking at A/B tests"). If the
rate is not above its bound, the evidence is a supermartingale that begins at 1, so that it ever
exceeds 1/error with at most that probability (Ville 1939). The bound is the upper end of the exact
interval of the rate before, which is known and does not change: its error is part of the budget.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.models.statistics import upper_bound

ODDS_RATIOS = np.array([1.25, 1.5, 2.0, 3.0, 5.0])  # by how much worse; equal weights
LEAST_BEFORE = 20  # trials before, for a bound that tells something


@dataclass(frozen=True)
class Counts:
    """How often something happened."""

    events: int
    trials: int


@dataclass(frozen=True)
class Evidence:
    """What speaks for it that a rate is worse than before.

    Attributes:
        pooled: the likelihood ratio of all groups together, with one effect for all.
        groups: of each group alone.
        pooled_bar: above which ``pooled`` raises an alarm.
        group_bar: above which one of ``groups`` does.
    """

    pooled: float
    groups: Mapping[str, float]
    pooled_bar: float
    group_bar: float

    @property
    def worse(self) -> tuple[str, ...]:
        """The groups that are worse with evidence."""
        return tuple(name for name, value in self.groups.items() if value >= self.group_bar)

    @property
    def alarm(self) -> bool:
        """Whether anything is worse with evidence."""
        return self.pooled >= self.pooled_bar or bool(self.worse)


def evidence(before: Mapping[str, Counts], now: Mapping[str, Counts], error: float) -> Evidence:
    """Return the evidence that rates are worse than before.

    Each group, such as an advertiser, is compared with itself: a changed mix of groups is no
    change of the rate. Half of the error is spent on the bounds of the rates before, a quarter on
    the pooled evidence, a quarter on that of single groups.

    Args:
        before: counts by group; complete, the same at every look.
        now: counts by group so far.
        error: probability of an alarm at any look, if no rate is above the one before.
    """
    known = {name: each for name, each in before.items() if each.trials >= LEAST_BEFORE}
    pooled_bar, group_bar = 4 / error, 4 * max(len(known), 1) / error
    total, groups = np.zeros(len(ODDS_RATIOS)), dict[str, float]()
    for name, old in known.items():
        bound = upper_bound(old.events, old.trials, error / (2 * len(known)))
        logs = _log_ratios(now.get(name, Counts(0, 0)), bound)
        groups[name] = _mixed(logs)
        total = total + logs
    return Evidence(_mixed(total), groups, pooled_bar, group_bar)


def _log_ratios(counts: Counts, bound: float) -> np.ndarray:
    """Return log likelihood ratios of worse rates against a bound (odds ratios,)."""
    if counts.trials == 0 or not 0 < bound < 1:
        return np.zeros(len(ODDS_RATIOS))
    odds = ODDS_RATIOS * bound / (1 - bound)
    rate = odds / (1 + odds)
    hits, misses = counts.events, counts.trials - counts.events
    found: np.ndarray = hits * np.log(rate / bound) + misses * (np.log1p(-rate) - np.log1p(-bound))
    return found


def _mixed(logs: np.ndarray) -> float:
    return float(np.exp(np.minimum(logs, 700.0)).mean())
