"""Statistics of paired answers and of rates, in numpy alone.

b and c count the images on which two models disagree: b where the new one alone is right, c where
the old one alone is.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Z95 = 1.959963984540054
STEPS = 60  # of a bisection
FLIP_CHUNK = 2000  # sign flips that are held in memory at once


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def mid_p(b: int, c: int) -> float:
    """Return the one-sided mid-p value of McNemar's exact test: that the new model is better.

    Half of the probability of what was observed counts: the exact test is too strict by as much
    (Fagerland, Lydersen and Laake 2013).
    """
    total = b + c
    if total == 0:
        return 1.0
    logs = _log_choose(total) - total * math.log(2)
    return float(np.exp(logs[b + 1 :]).sum() + 0.5 * math.exp(logs[b]))


def paired_interval(differences: NDArray[np.int64], count: int, z: float = Z95) -> Interval:
    """Return the difference of two accuracies, new less old, with its interval.

    The adjusted Wald interval of Agresti and Min (2005): half an image is added to each cell of
    the 2 x 2 table. An image with several labels is one cluster.

    Args:
        differences: (images,) right answers of the new model less those of the old one.
        count: of answers.
        z: quantile of the normal distribution.
    """
    if count == 0:
        return Interval(0.0, -1.0, 1.0)
    total, squares = int(differences.sum()), int((differences**2).sum()) + 1
    more = count + 2
    spread = math.sqrt(max(squares - total**2 / more, 0.0)) / more
    middle = total / more
    return Interval(total / count, max(middle - z * spread, -1.0), min(middle + z * spread, 1.0))


def flip_maxima(differences: NDArray[np.int64], flips: int, seed: int) -> tuple[Floats, Floats]:
    """Return how much better each of several models looks, and the best by chance alone.

    If no model is better than the old one, the sign of all differences of an image is as likely
    plus as minus. Flipping the signs image by image (the same for all models, whose errors are
    alike) shows how good the best of them looks by chance: the distribution of the maximum, by
    which choosing the best is corrected (Westfall and Young 1993; Romano and Wolf 2005).

    Args:
        differences: (images, models), as in ``paired_interval``.
        flips: number of random flips.
        seed: of the flips.

    Returns:
        The standardised differences (models,), and maxima (flips,) of flipped ones.
    """
    told = differences[np.any(differences != 0, axis=1)].astype(np.float64)
    scale = np.sqrt((told**2).sum(axis=0))
    scale[scale == 0] = np.inf
    observed = told.sum(axis=0) / scale
    rng = np.random.default_rng(seed)
    maxima = []
    for start in range(0, flips, FLIP_CHUNK):
        shape = (min(FLIP_CHUNK, flips - start), len(told))
        signs = 2.0 * rng.integers(0, 2, shape, np.int8) - 1.0
        maxima.append(((signs @ told) / scale).max(axis=1, initial=-np.inf))
    return observed, np.concatenate(maxima)


def wilson(successes: int, trials: int, z: float = Z95) -> Interval:
    """Return a share with its interval; Wilson (1927)."""
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    share, width = successes / trials, 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / width
    half = z / width * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))


@functools.lru_cache(maxsize=10_000)  # the same at every look
def upper_bound(successes: int, trials: int, error: float) -> float:
    """Return the upper end of a share's one-sided interval; Clopper and Pearson (1934).

    Args:
        successes: among the trials.
        trials: number.
        error: probability that the share is above.
    """
    if successes >= trials:
        return 1.0
    logs = _log_choose(trials)[: successes + 1]
    hits = np.arange(successes + 1)
    low, high = successes / trials, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        terms = logs + hits * math.log(middle) + (trials - hits) * math.log1p(-middle)
        low, high = (middle, high) if np.exp(terms).sum() > error else (low, middle)
    return high


def images_needed(difference: float, disagreement: float, z: float = 1.6449) -> int:
    """Return the images that show a difference in 4 of 5 tests (Connor 1987).

    Args:
        difference: of the accuracies, above 0.
        disagreement: share of images on which one model alone is right.
        z: quantile of the test's error.
    """
    spread = math.sqrt(max(disagreement - difference**2, 0.0))
    return math.ceil(((z * math.sqrt(disagreement) + 0.8416 * spread) / difference) ** 2)


def quantile(values: Sequence[float] | Floats, share: float) -> float:
    """Return a quantile, the next value above it."""
    return float(np.quantile(values, share, method="higher"))


def _log_choose(total: int) -> Floats:
    """Return the logarithms of the binomial coefficients (total + 1,)."""
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, total + 1)))))
    found: Floats = logs[-1] - logs - logs[::-1]
    return found
