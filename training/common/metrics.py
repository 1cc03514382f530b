"""Metrics of predicted probabilities, beside the majority baseline and the ceiling."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from augrank.arrays import Float64Array

Z95 = 1.959964
LEAK_Z = 3.0  # one-sided chance of a false alarm: 0.13 % per head
EPSILON = 1e-7
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability diagram."""

    predicted: float  # mean probability
    observed: float  # share of ones
    weight: float  # number of outcomes


def log_loss(label: Float64Array, probability: Float64Array, weight: Float64Array) -> float:
    """Compute the mean negative log-likelihood of 0/1 labels, float64 (N,) each, in nats."""
    clipped = np.clip(probability, EPSILON, 1 - EPSILON)
    loss = -(label * np.log(clipped) + (1 - label) * np.log(1 - clipped))
    return float(np.average(loss, weights=weight))


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
    truth: Float64Array | None,
) -> dict[str, Any]:
    """Compute all metrics that are reported for a head on the test split.

    Args:
        label: 0 or 1, float64 (N,).
        probability: calibrated, float64 (N,).
        weight: float64 (N,).
        train_share: share of ones in training.
        truth: true probabilities, float64 (N,), if the generating process is known.
    """
    count = float(weight.sum())
    result: dict[str, Any] = dict(scores(label, probability, weight))
    result["accuracy_interval_95"] = list(wilson_interval(result["accuracy"], count))
    result["ece"] = expected_calibration_error(reliability(label, probability, weight))
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
