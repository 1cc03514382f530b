"""Ranks of new images: how often they tell which of two is liked more, and classes beside them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.errors import AugrankError
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import Request
from training.common.ranking import draw_pairs, ranking_figures

BATCH = 32  # images of a request
BOOTSTRAPS, BOOTSTRAP_SEED = 1000, 0
Rows = list[dict[str, Any]]


def rank_figures(
    rank: str, truth_column: str, truth: Rows, told: Rows, group: NDArray[np.int64]
) -> dict[str, Any]:
    """Return how often pairs of new images of one group are told rightly, and could be.

    Args:
        rank: column of the scores.
        truth_column: of what can be known about them.
        truth: rows of the rendered manifest.
        told: rows of ``augrank score``.
        group: (N,) of each row.
    """
    score = np.array([float(row[rank]) for row in truth])
    pairs = draw_pairs(score, group, seed=0)
    known = np.array([float(row[truth_column]) for row in truth])
    attainable = pairs.mean(pairs.correct(known))
    figures = asdict(
        ranking_figures(np.array([row[f"{rank}_score"] for row in told]), pairs, group)
    )
    low, high = figures["pair_accuracy_interval_95"]
    above = (figures["pair_accuracy"] - 0.5) / (attainable - 0.5) if attainable > 0.5 else None
    return figures | {
        "attainable": attainable,
        "share_of_attainable": figures["pair_accuracy"] / attainable,
        "share_of_attainable_interval_95": (low / attainable, high / attainable),
        "share_above_chance": above,
    }


def expected_classes(bundle: Path, label: str, files: Sequence[Path]) -> Float64Array:
    """Classify images; return the mean place of each image's classes, by their probabilities, (N,).

    Args:
        bundle: of a classifier.
        label: whose classes are numbers, in the order of the scores.
        files: the images.
    """
    classifier = Classifier.load(bundle, embedding_cache_mb=0)
    classes = classifier.heads.classes[label]
    place = {name: number for number, name in enumerate(sorted(classes, key=float))}
    found = []
    for start in range(0, len(files), BATCH):
        images = tuple(file.read_bytes() for file in files[start : start + BATCH])
        (answer,) = classifier.classify_batch([Request(images, top=len(classes))])
        if isinstance(answer, AugrankError):
            raise answer
        found += [
            sum(place[each.name] * each.probability for each in image.labels[label].top)
            for image in answer.images
        ]
    return np.array(found)


def difference_of_pairs(
    score: Float64Array, one: Float64Array, other: Float64Array, group: NDArray[np.int64]
) -> dict[str, float]:
    """Return how many more pairs one ranking tells rightly than another, as a share of all.

    Args:
        score: (N,) true, such as a number of likes.
        one: (N,) by a ranking.
        other: (N,) by another one.
        group: (N,) of the images that are compared; drawn with all of its pairs.

    Returns:
        ``median``, which is the difference itself, and ``low`` and ``high``, its 95 % interval.
    """
    pairs = draw_pairs(score, group, seed=0)
    weight, number = pairs.weight(), np.unique(group[pairs.higher], return_inverse=True)[1]
    more = np.bincount(number, weight * (pairs.correct(one) - pairs.correct(other)))
    every = np.bincount(number, weight)
    rng, groups = np.random.default_rng(BOOTSTRAP_SEED), len(every)
    drawn = []
    for _ in range(BOOTSTRAPS):
        times = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        drawn.append(float((times @ more) / (times @ every)))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return {"median": float(more.sum() / every.sum()), "low": low, "high": high}
