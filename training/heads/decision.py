"""Metrics of the decision: does a head pick the right version of an image, and how surely?

AUC and accuracy compare rows of different images. A marketer chooses between versions of one image
in one context, so these metrics compare the test rows of one original in one context.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.targets import Direction
from augrank.trust.verdict import LEVEL, decide, interval
from training.heads.dataset import OutcomeRows

MAX_ROWS = 20_000  # judged; with their draws they must fit in memory


@dataclass(frozen=True)
class JudgedRows:
    """The distinct images shown in one context, by original and context; arrays (N,)."""

    rows: OutcomeRows
    rate: Float64Array  # mean outcome
    trials: Float64Array  # number of outcomes
    row: NDArray[np.int64]  # among all outcomes
    # (G + 1,) first row of each group, which is the unchanged image if that was shown, and N.
    starts: NDArray[np.int64]

    @property
    def value(self) -> Float64Array:
        """The true probability of each row where known, else its mean outcome."""
        return self.rate if self.rows.truth is None else self.rows.truth

    @property
    def has_choice(self) -> NDArray[np.bool_]:
        """Whether the group of each row has another one, (N,)."""
        sizes = np.diff(self.starts)
        return np.repeat(sizes > 1, sizes)

    def groups(self) -> list[slice]:
        """Return the rows of each group with a choice."""
        pairs = zip(self.starts, self.starts[1:], strict=False)
        return [slice(start, end) for start, end in pairs if end - start > 1]


def judged_rows(rows: OutcomeRows, unchanged: NDArray[np.int64], seed: int) -> JudgedRows:
    """Return the rows to judge: all, or those of originals drawn until there are MAX_ROWS.

    Args:
        rows: the outcomes of the test split.
        unchanged: embedding of each row's unchanged image; -1 if unknown.
        seed: of the draw.
    """
    distinct = rows.distinct()
    trials = np.bincount(distinct.number, rows.weight).astype(np.float64)
    successes = np.bincount(distinct.number, rows.weight * rows.label)
    kept = np.flatnonzero(trials > 0)
    images, image = np.unique(rows.original[distinct.first[kept]], return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(images))[image]
    kept = kept[place <= _last_whole(place)]
    first = distinct.first[kept]
    changed = rows.embedding[first] != unchanged[first]
    order = np.lexsort((changed, rows.context[first], rows.original[first]))
    kept, first = kept[order], first[order]
    shown = rows[first]
    changes = (np.diff(shown.original) != 0) | (np.diff(shown.context) != 0)
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(shown)]])
    return JudgedRows(shown, successes[kept] / trials[kept], trials[kept], first, starts)


def _last_whole(place: NDArray[np.int64]) -> int:
    """Return the last image in order whose rows, with those before, are at most MAX_ROWS.

    Args:
        place: (N,) of each row's image in the order of images.
    """
    total = np.cumsum(np.bincount(place))
    return max(0, int(np.searchsorted(total, MAX_ROWS, side="right")) - 1)


def decision_metrics(
    draws: Float64Array, judged: JudgedRows, direction: Direction
) -> dict[str, Any]:
    """Compute the metrics on test rows.

    Args:
        draws: probabilities, (M, N).
        judged: the N rows.
        direction: whether a high or a low probability is good.

    Returns:
        Of groups with a choice: ``pairwise_accuracy``: share of pairs of a group's rows that are
        ordered as their outcomes, or as their true probabilities where known. ``picked_rate`` and
        ``shown_rate``: mean outcome of each group's best-rated row, and of all its rows.
        ``changes``: share of groups in which the verdict recommends a change. Where the truth is
        known, also ``regret`` (mean true probability of a group's best row less that of the
        recommended one), ``coverage`` (share of true probabilities in their interval) and
        ``false_claims`` (share of rows said to be better than their reference that are not). None
        where there is nothing to count.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    groups, value = judged.groups(), sign * judged.value
    mean = sign * draws.mean(axis=0)
    picked = np.array([part.start + int(np.argmax(mean[part])) for part in groups], np.int64)
    decisions = [decide(draws[:, part][:, 1:], draws[:, part.start], direction) for part in groups]
    chosen = [0 if each.option is None else 1 + each.option for each in decisions]
    result: dict[str, Any] = {
        "pairwise_accuracy": _pairwise_accuracy(mean, value, groups),
        "picked_rate": _rate(judged, picked),
        "shown_rate": _rate(judged, np.flatnonzero(judged.has_choice)),
        "changes": float(np.mean([number > 0 for number in chosen])) if groups else None,
        "interval_level": LEVEL,
        "regret": None,
        "coverage": None,
        "false_claims": None,
    }
    if judged.rows.truth is not None:
        lost = [
            value[part].max() - value[part][row] for part, row in zip(groups, chosen, strict=True)
        ]
        result["regret"] = float(np.mean(lost)) if groups else None
        low, high = interval(draws)
        truth = judged.rows.truth
        result["coverage"] = float(np.mean((low <= truth) & (truth <= high)))
        gains = [value[part][1:] - value[part.start] for part in groups]
        claimed = [gain[each.better] for gain, each in zip(gains, decisions, strict=True)]
        claims = np.concatenate([*claimed, np.empty(0)])
        result["false_claims"] = float(np.mean(claims <= 0)) if len(claims) else None
    return result


def _rate(judged: JudgedRows, rows: NDArray[np.int64]) -> float | None:
    """Return the mean outcome of rows; None without a row."""
    if not len(rows):
        return None
    return float(np.average(judged.rate[rows], weights=judged.trials[rows]))


def _pairwise_accuracy(
    mean: Float64Array, value: Float64Array, groups: list[slice]
) -> float | None:
    """Return the share of pairs with different values that the means order alike, or None."""
    right = pairs = 0
    for part in groups:
        first, second = np.triu_indices(part.stop - part.start, 1)
        ordered = np.sign(value[part][first] - value[part][second])
        said = np.sign(mean[part][first] - mean[part][second])
        right += int(np.sum((said == ordered) & (ordered != 0)))
        pairs += int(np.sum(ordered != 0))
    return right / pairs if pairs else None
