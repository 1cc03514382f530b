"""Figures of a classifier on held-out images, with intervals, beside the majority class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from training.common.metrics import EPSILON, clustered_share_interval

BOOTSTRAPS, BOOTSTRAP_SEED = 1000, 0
CONFIDENCE_BINS = 10


@dataclass(frozen=True)
class ClassFigures:
    """One class on the test split."""

    images: int
    precision: float | None  # None if it was never predicted
    recall: float | None  # None if no image is of it
    f1: float | None


@dataclass(frozen=True)
class ClassificationFigures:
    """How well a label is told; intervals are of 95 %, by bootstrap of groups of images."""

    images: int
    accuracy: float
    accuracy_interval_95: tuple[float, float]
    macro_f1: float  # mean over the classes that have test images
    macro_f1_interval_95: tuple[float, float]
    log_loss: float
    ece: float  # of the most probable class
    majority: float  # share of the most frequent class
    # Of as many right answers by guessing the majority class: exact binomial test of one image of
    # each group.
    p_value: float
    per_class: dict[str, ClassFigures]
    confusion: tuple[tuple[int, ...], ...]  # rows: true class; columns: predicted class


def classification_figures(
    probability: Float64Array,
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    classes: Sequence[str],
) -> ClassificationFigures:
    """Compute figures.

    Args:
        probability: (N, K).
        label: (N,) numbers of classes.
        group: (N,); images of one group are not independent.
        classes: names, K.
    """
    from scipy.stats import binomtest

    predicted = probability.argmax(axis=1)
    confusion = confusion_matrix(label, predicted, len(classes))
    right = predicted == label
    majority = float(confusion.sum(axis=1).max() / len(label))
    # Images of one group are right or wrong together: one of each is a fair test.
    alone = right[np.unique(group, return_index=True)[1]]
    test = binomtest(int(alone.sum()), len(alone), majority, alternative="greater")
    accuracy, f1 = _intervals(label, predicted, group, len(classes))
    return ClassificationFigures(
        images=len(label),
        accuracy=float(right.mean()),
        accuracy_interval_95=accuracy,
        macro_f1=macro_f1(confusion),
        macro_f1_interval_95=f1,
        log_loss=float(row_losses(probability, label).mean()),
        ece=confidence_error(probability, label),
        majority=majority,
        p_value=float(test.pvalue),
        per_class=_per_class(confusion, classes),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def row_losses(probability: Float64Array, label: NDArray[np.int64]) -> Float64Array:
    """Return the log loss of each row, (N,), in nats."""
    right = probability[np.arange(len(label)), label]
    return np.asarray(-np.log(np.clip(right, EPSILON, 1)))


def confusion_matrix(
    label: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Return counts by true class (rows) and predicted class (columns), (K, K)."""
    counts = np.bincount(label * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 of the classes that have images; 0 for one that is never right.

    Args:
        confusion: (K, K).
    """
    right = np.diagonal(confusion)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = 2 * right / np.maximum(true + predicted, 1)
    return float((f1 * (true > 0)).sum() / max((true > 0).sum(), 1))


def confidence_error(probability: Float64Array, label: NDArray[np.int64]) -> float:
    """Return the expected calibration error of the most probable class; Guo et al. (2017)."""
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == label
    place = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    gaps = np.bincount(place, weights=confidence - right, minlength=CONFIDENCE_BINS)
    return float(np.abs(gaps).sum() / len(label))


Interval = tuple[float, float]


def _intervals(
    label: NDArray[np.int64],
    predicted: NDArray[np.int64],
    group: NDArray[np.int64],
    classes: int,
) -> tuple[Interval, Interval]:
    """Return bootstrap intervals of accuracy and macro-F1: groups are drawn with their images."""
    _, number = np.unique(group, return_inverse=True)
    groups = int(number.max()) + 1
    cell = label * classes + predicted
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    accuracy, f1 = [], []
    for _ in range(BOOTSTRAPS):
        times = np.bincount(rng.integers(groups, size=groups), minlength=groups)[number]
        counts = np.bincount(cell, weights=times, minlength=classes**2).reshape(classes, classes)
        accuracy.append(float(np.trace(counts) / counts.sum()))
        f1.append(macro_f1(counts))
    low, high = np.quantile(f1, [0.025, 0.975]).tolist()
    share = float((label == predicted).mean())
    weight = np.bincount(number).astype(np.float64)
    interval = clustered_share_interval(share, float(np.var(accuracy)), weight, len(label))
    return interval, (low, high)


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, ClassFigures]:
    found = {}
    for number, name in enumerate(classes):
        right = int(confusion[number, number])
        true, predicted = int(confusion[number].sum()), int(confusion[:, number].sum())
        found[name] = ClassFigures(
            images=true,
            precision=right / predicted if predicted else None,
            recall=right / true if true else None,
            f1=2 * right / (true + predicted) if true + predicted else None,
        )
    return found
