"""Metrics of the decision: does a head pick the right version of an image, and how surely?

AUC and accuracy compare rows of different images. A marketer chooses between versions of one image,
so these metrics compare the test rows of one original with each other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.targets import Direction
from augrank.trust.verdict import LEVEL, interval
from training.heads.dataset import OutcomeRows

MAX_PAIRS = 200_000


def decision_metrics(
    draws: Float64Array, rows: OutcomeRows, direction: Direction, seed: int
) -> dict[str, Any]:
    """Compute the metrics on test rows.

    Args:
        draws: probabilities, (M, N).
        rows: the N outcomes.
        direction: whether a high or a low probability is good.
        seed: of the sample of pairs, if there are too many.

    Returns:
        ``pairwise_accuracy``: share of pairs of an original's rows that are ordered as their
        outcomes, or as their true probabilities where known. ``picked_rate`` and ``shown_rate``:
        mean outcome of each original's best-rated row, and of all. Where the truth is known, also
        ``regret`` (mean true probability of the best row less that of the picked one), ``coverage``
        (share of true probabilities in their interval) and ``false_claims`` (share of claims that
        one row beats another whose truth is not so).
    """
    sign = 1.0 if direction == "maximize" else -1.0
    row, rate, weight = _shown(rows)
    draws, original = draws[:, row], rows.original[row]
    truth = None if rows.truth is None else rows.truth[row]
    mean = draws.mean(axis=0)
    picked = _best_rows(sign * mean, original)
    result: dict[str, Any] = {
        "pairwise_accuracy": None,
        "picked_rate": float(np.average(rate[picked], weights=weight[picked])),
        "shown_rate": float(np.average(rate, weights=weight)),
        "interval_level": LEVEL,
        "regret": None,
        "coverage": None,
        "false_claims": None,
    }
    value = rate if truth is None else truth
    first, second = _pairs(original, seed)
    differs = value[first] != value[second]
    if differs.any():
        one, other = first[differs], second[differs]
        ordered = np.sign(mean[one] - mean[other]) == np.sign(value[one] - value[other])
        result["pairwise_accuracy"] = float(ordered.mean())
    if truth is not None:
        best = _best_rows(sign * truth, original)
        result["regret"] = float(np.mean(sign * (truth[best] - truth[picked])))
        low, high = interval(draws)
        result["coverage"] = float(np.mean((low <= truth) & (truth <= high)))
        result["false_claims"] = _false_claims(draws, truth, first, second)
    return result


def _shown(rows: OutcomeRows) -> tuple[NDArray[np.int64], Float64Array, Float64Array]:
    """Return a row for each image shown in a context, its mean outcome and number of outcomes."""
    keys = np.stack([rows.embedding, rows.augmentation, rows.context])
    _, first, number = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    weight = np.bincount(number, rows.weight).astype(np.float64)
    known = weight > 0
    successes = np.bincount(number, rows.weight * rows.label)
    return first[known], successes[known] / weight[known], weight[known]


def _best_rows(value: Float64Array, original: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of the highest value of each original; the first on ties."""
    order = np.lexsort((np.arange(len(value)), -value, original))
    return order[np.unique(original[order], return_index=True)[1]]


def _pairs(original: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of rows of one original: all, or a sample of about MAX_PAIRS."""
    order = np.argsort(original, kind="stable")
    groups = np.split(order, np.unique(original[order], return_index=True)[1][1:])
    rng = np.random.default_rng(seed)
    most = max(1, MAX_PAIRS // len(groups))
    firsts, seconds = [], []
    for group in groups:
        first, second = np.triu_indices(len(group), 1)
        if len(first) > most:
            some = rng.choice(len(first), most, replace=False)
            first, second = first[some], second[some]
        firsts.append(group[first])
        seconds.append(group[second])
    return np.concatenate(firsts), np.concatenate(seconds)


def _false_claims(
    draws: Float64Array,
    truth: Float64Array,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> float | None:
    """Return the share of false claims "this row beats that one"; None without a claim."""
    claims = false = 0
    for start in range(0, len(first), 4096):
        one, other = first[start : start + 4096], second[start : start + 4096]
        low, high = interval(draws[:, one] - draws[:, other])
        claimed = (low > 0) | (high < 0)
        right = np.where(low > 0, truth[one] > truth[other], truth[one] < truth[other])
        claims += int(claimed.sum())
        false += int((claimed & ~right).sum())
    return false / claims if claims else None
