"""Metrics of predicted probabilities, beside the majority baseline and the ceiling."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from augrank.arrays import Float64Array

Z95 = 1.959964
MIN_VARIANCE = 1e-12  # less is rounding
LEAK_Z = 3.0  # one-sided chance of a false alarm: 0.13 % per head
EPSILON = 1e-7
CALIBRATION_BINS = 10
BOOTSTRAPS = 200


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram."""

    predicted: float  # mean probability
    observed: float  # share of ones
    weight: float  # number of outcomes


def log_loss(label: Float64Array, probability: Float64Array, weight: Float64Array) -> float:
    """Compute the mean negative log-likelihood of 0/1 labels, float64 (N,) each, in nats."""
    return float(np.average(row_log_losses(label, probability), weights=weight))


def row_log_losses(label: Float64Array, probability: Float64Array) -> Float64Array:
    """Compute the log loss of every row, float64 (N,), in nats."""
    clipped = np.clip(probability, EPSILON, 1 - EPSILON)
    return -(label * np.log(clipped) + (1 - label) * np.log1p(-clipped))


def clustered_mean(
    values: Float64Array, weight: Float64Array, cluster: NDArray[np.int64]
) -> tuple[float, float]:
    """Return a weighted mean and its standard error, clustered (Liang and Zeger, 1986)."""
    mean = float(np.average(values, weights=weight))
    numbers = np.unique(cluster, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=weight * (values - mean))
    correction = len(sums) / max(1, len(sums) - 1)
    return mean, math.sqrt(correction * float(sums @ sums)) / float(weight.sum())


def scores(
    label: Float64Array, probability: Float64Array, weight: Float64Array
) -> dict[str, float | None]:
    """Compute accuracy, AUC, Brier score and log loss.

    Args:
        label: 0 or 1, float64 (N,).
        probability: predicted probability of 1, float64 (N,).
        weight: number of outcomes that each row stands for, float64 (N,).
    """
    from sklearn.metrics import roc_auc_score  # slow to import, not needed without heads

    both = 0 < np.sum(weight * label) < np.sum(weight)
    correct = (probability >= 0.5) == (label == 1)
    return {
        "accuracy": float(np.average(correct, weights=weight)),
        "auc": float(roc_auc_score(label, probability, sample_weight=weight)) if both else None,
        "brier": float(np.average((probability - label) ** 2, weights=weight)),
        "log_loss": log_loss(label, probability, weight),
    }


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a share observed in ``count`` trials; Wilson (1927)."""
    if count <= 0:
        return 0.0, 1.0
    middle = share + Z95**2 / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    scale = 1 + Z95**2 / count
    return (middle - half) / scale, (middle + half) / scale


def clustered_share_interval(
    share: float, variance: float, cluster_weight: Float64Array, count: int
) -> tuple[float, float]:
    """Return the 95 % interval of a share of things that come in clusters.

    It is Wilson's interval of as many independent things as vary like these clusters. Of clusters
    of unequal weight few count (Kish, 1965), so that their variance is itself unsure: the interval
    is wider by as much as Student's t exceeds the normal distribution.

    Args:
        share: what was observed.
        variance: of it, when clusters are drawn again.
        cluster_weight: (G,) how much each cluster counts.
        count: the number of things.
    """
    effective = max(float(cluster_weight.sum() ** 2 / (cluster_weight**2).sum()), 1 + MIN_VARIANCE)
    variance *= effective / (effective - 1)  # drawn from few, they vary too little
    # Where nothing varies, there are as many things as clusters.
    alike = share * (1 - share) / variance if variance > MIN_VARIANCE else effective
    wider = float(stdtrit(max(effective - 1, 1.0), 0.975)) / Z95
    return wilson_interval(share, min(count, alike) / wider**2)


def reliability(
    label: Float64Array, probability: Float64Array, weight: Float64Array
) -> list[ReliabilityBin]:
    """Divide probabilities into bins of equal width; empty bins are left out."""
    index = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    bins = []
    for number in range(CALIBRATION_BINS):
        inside = (index == number) & (weight > 0)
        if inside.any():
            predicted = np.average(probability[inside], weights=weight[inside])
            observed = np.average(label[inside], weights=weight[inside])
            bins.append(
                ReliabilityBin(float(predicted), float(observed), float(weight[inside].sum()))
            )
    return bins


def expected_calibration_error(bins: list[ReliabilityBin]) -> float:
    """Compute ECE: mean |predicted - observed|, weighted by outcomes; Naeini et al. (2015)."""
    total = sum(item.weight for item in bins)
    return sum(item.weight * abs(item.predicted - item.observed) for item in bins) / total


def debiased_calibration_error(
    label: Float64Array,
    probability: Float64Array,
    weight: Float64Array,
    cluster: NDArray[np.int64],
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Compute the root mean squared calibration error without the noise of outcomes.

    ECE is positive even for a perfect prediction, because outcomes scatter in every bin. Here the
    variance of each bin's mean is subtracted (Kumar, Liang and Ma, 2019), estimated from the
    scatter between clusters. The 90 % interval is a bootstrap over clusters.

    Returns:
        The error, and its interval.
    """
    numbers = np.unique(cluster, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    outcomes = label, probability, weight, numbers
    # A resample scatters around the sample, whose own scatter is subtracted too.
    resampled = [
        _squared_error(*outcomes, np.bincount(rng.integers(count, size=count), minlength=count), 2)
        for _ in range(BOOTSTRAPS)
    ]
    error = _squared_error(*outcomes, np.ones(count, np.int64), 1)
    low, high = np.sqrt(np.maximum(np.quantile(resampled, [0.05, 0.95]), 0)).tolist()
    return math.sqrt(max(0.0, error)), (low, high)


def _squared_error(
    label: Float64Array,
    probability: Float64Array,
    weight: Float64Array,
    cluster: NDArray[np.int64],
    times: NDArray[np.int64],
    noises: int,
) -> float:
    """Return the squared calibration error of rows whose clusters count ``times`` each, (C,).

    The variance of a bin's mean is subtracted ``noises`` times. Bins of one cluster are left out:
    theirs is not known.
    """
    index = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counted = weight * times[cluster]
    squares = outcomes = 0.0
    for number in np.unique(index[counted > 0]):
        inside = (index == number) & (counted > 0)
        different = np.unique(cluster[inside])
        clusters = int(times[different].sum())
        if len(different) == 1:
            continue
        total = float(counted[inside].sum())
        difference = probability[inside] - label[inside]
        gap = float(counted[inside] @ difference) / total
        sums = np.bincount(cluster[inside], weight[inside] * (difference - gap), len(times))
        noise = float(times @ sums**2) * clusters / (clusters - 1) / total**2
        squares += total * (gap**2 - noises * noise)
        outcomes += total
    return squares / outcomes if outcomes else 0.0


def majority_accuracy(train_share: float, label: Float64Array, weight: Float64Array) -> float:
    """Compute the accuracy of always predicting the majority class of the training split."""
    ones = float(np.average(label, weights=weight))
    return ones if train_share >= 0.5 else 1 - ones


def leak_z(
    label: Float64Array, probability: Float64Array, truth: Float64Array, weight: Float64Array
) -> float:
    """Compute by how many standard errors the accuracy exceeds its expectation.

    Given the true probabilities, outcomes are independent of every honest prediction, so the
    number of hits has mean sum(p or 1 - p, as predicted) and variance sum(p (1 - p)). Since no
    prediction can expect more than the ceiling, a head significantly above the ceiling is
    significantly above this too: outcomes have leaked into the inputs or across the split.
    """
    predicted_one = probability >= 0.5
    hits = np.sum(weight * (predicted_one == (label == 1)))
    expected = np.sum(weight * np.where(predicted_one, truth, 1 - truth))
    deviation = math.sqrt(float(np.sum(weight * truth * (1 - truth))))
    return float((hits - expected) / deviation) if deviation > 0 else 0.0


def evaluate(
    label: Float64Array,
    probability: Float64Array,
    weight: Float64Array,
    *,
    train_share: float,
    original: NDArray[np.int64],
    truth: Float64Array | None,
) -> dict[str, Any]:
    """Compute all metrics that are reported for a head on the test split.

    Args:
        label: 0 or 1, float64 (N,).
        probability: calibrated, float64 (N,).
        weight: float64 (N,).
        train_share: share of ones in training.
        original: of each row, int64 (N,): outcomes of one original are not independent.
        truth: true probabilities, float64 (N,), if the generating process is known.
    """
    count = float(weight.sum())
    result: dict[str, Any] = dict(scores(label, probability, weight))
    result["accuracy_interval_95"] = list(wilson_interval(result["accuracy"], count))
    result["ece"] = expected_calibration_error(reliability(label, probability, weight))
    error, error_interval = debiased_calibration_error(label, probability, weight, original)
    result["debiased_ece"], result["debiased_ece_interval_90"] = error, list(error_interval)
    result["outcomes"] = count
    result["share_of_ones"] = float(np.average(label, weights=weight))
    result["majority_accuracy"] = majority_accuracy(train_share, label, weight)
    result["ceiling"] = None
    if truth is not None:
        z = leak_z(label, probability, truth, weight)
        expected = float(np.average(np.maximum(truth, 1 - truth), weights=weight))
        result["ceiling"] = {**scores(label, truth, weight), "expected_accuracy": expected}
        result["leak_z"], result["leak"] = z, z > LEAK_Z
    return result
