"""Networks beside each other: what one tells better than another, and how quick they are."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import Request
from benchmarks.common.statistics import Median
from training.common.classification import confusion_matrix, macro_f1

TIMED_REQUESTS = 8
BOOTSTRAPS, BOOTSTRAP_SEED = 1000, 0


def image_rates(bundles: Mapping[str, Path], images: Sequence[bytes]) -> dict[str, dict[str, Any]]:
    """Time loaded classifiers in turns, each by the quickest way here.

    Args:
        bundles: by name; the first one is what the others are compared with.
        images: of one request.

    Returns:
        By name ``images_per_s``, and of all but the first ``speed_ratio``: medians and intervals.
    """
    loaded = {
        name: Classifier.load(bundle, embedding_cache_mb=0) for name, bundle in bundles.items()
    }
    for classifier in loaded.values():
        classifier.warm_up()
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    for _ in range(TIMED_REQUESTS):
        for name, classifier in loaded.items():
            started = time.perf_counter()
            classifier.classify_batch([Request(tuple(images))])
            seconds[name].append(time.perf_counter() - started)
    first, *others = seconds
    found = {
        name: {"images_per_s": asdict(Median.of(len(images) / np.array(each), 1))}
        for name, each in seconds.items()
    }
    for name in others:
        found[name]["speed_ratio"] = asdict(Median.of_ratios(seconds[first], seconds[name]))
    return found


def macro_f1_difference(
    label: NDArray[np.int64],
    told: NDArray[np.int64],
    first: NDArray[np.int64],
    group: NDArray[np.int64],
) -> dict[str, float]:
    """Return by how much one network's macro-F1 exceeds another's, on the same images.

    Args:
        label: (N,) the true classes' numbers.
        told: (N,) by the network.
        first: (N,) by the one that it is compared with.
        group: (N,), drawn with all of its images.

    Returns:
        ``median``, which is the difference itself, and ``low`` and ``high``, its 95 % interval.
    """
    classes = int(max(label.max(), told.max(), first.max())) + 1
    number = np.unique(group, return_inverse=True)[1]
    groups = int(number.max()) + 1
    rng = np.random.default_rng(BOOTSTRAP_SEED)

    def difference(rows: NDArray[np.int64]) -> float:
        one, other = (confusion_matrix(label[rows], each[rows], classes) for each in (told, first))
        return macro_f1(one) - macro_f1(other)

    drawn = []
    for _ in range(BOOTSTRAPS):
        times = np.bincount(rng.integers(groups, size=groups), minlength=groups)[number]
        drawn.append(difference(np.repeat(np.arange(len(label)), times)))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return {"median": difference(np.arange(len(label))), "low": low, "high": high}
