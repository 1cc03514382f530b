"""How likely each candidate is the best one, from what an answer says of its uncertainty.

An answer has, for each candidate, the mean and the 90 % interval of its probability, and of its
paired difference from the original. The trust layer (``augrank/trust/posterior.py``) draws log odds
as

    log odds of a version = mean + effect of the image + effect of the version

The effect of the image is the same for all candidates, so it does not matter for which one is the
best: intervals of the probabilities, taken as independent, would say that hardly anything is known.
What matters are the effects of the versions, the original's among them: it is the reference of all
differences, so these are correlated, by the share of the original's own variance in theirs. Here
the effects of versions are independent normals on the scale of log odds:

- a candidate's mean is the difference of its log odds from the original's;
- the variance V of a difference is that of its interval, divided by the slope of the probability in
  log odds; what the effect of the image adds to it, because the slope varies with it, is taken off;
- the original's own variance is half of the differences' (its version is one like the others), and
  as far as the intervals of the probabilities say otherwise, it follows them half-way:
  (var(original) - var(candidate) + V) / 2 is exact for the model above, but noisy where the image's
  effect is large. The rest of V is the candidate's own.

Against draws of that model, the total variation from the true probabilities of being the best was 4
to 13 % on average in six settings (with the 200 draws themselves: 5 %; with independent intervals:
7 to 36 %). The tests hold a part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from augrank.arrays import Float64Array
from augrank.models.calibration import log_odds
from augrank.models.targets import Direction

Z90 = 1.6448536269514722  # a central 90 % interval of a normal is its mean +- Z90 deviations
LEAST_SHARE = 0.1  # of a difference's variance that is left, whatever is taken off
LEAST_SPREAD = 1 / 20  # of the largest deviation: narrower ones are widened to it
LEAST_DEVIATION = 1e-6  # log odds
EDGE = 1e-6  # probabilities closer to 0 or 1 count as this close
STEPS_PER_DEVIATION, REACH = 4, 8.0  # of the integration, in deviations


@dataclass(frozen=True)
class Belief:
    """What an answer says of a candidate, on the scale of probabilities; intervals of 90 %."""

    name: str
    probability: float
    interval: tuple[float, float]
    difference: float  # from the original, paired
    difference_interval: tuple[float, float]


@dataclass(frozen=True)
class Normals:
    """Independent normals, one for each candidate, in log odds; high is good."""

    mean: Float64Array  # (N,)
    deviation: Float64Array  # (N,), above 0


def normals(candidates: Sequence[Belief], original: int, direction: Direction) -> Normals:
    """Return what is believed of the effects of the versions.

    Args:
        candidates: N.
        original: number of the unchanged image.
        direction: whether a high or a low probability is good.
    """
    probability = np.clip([each.probability for each in candidates], EDGE, 1 - EDGE)
    odds = log_odds(probability)
    mean = odds - odds[original]
    known = _variance(log_odds(np.clip([c.interval for c in candidates], EDGE, 1 - EDGE)))
    middle = (probability + probability[original]) / 2
    ends = np.array([each.difference_interval for each in candidates], np.float64)
    raw = _variance(ends) / (middle * (1 - middle)) ** 2
    of_image = (mean * (1 - 2 * middle)) ** 2 * known[original]
    paired = np.maximum(raw - of_image, LEAST_SHARE * raw)
    others = np.delete(paired, original)
    own = 0.0
    if len(others):
        seen = np.median((known[original] - np.delete(known, original) + others) / 2)
        most = (1 - LEAST_SHARE) * float(others.min())
        own = (np.clip(np.median(others) / 2, 0, most) + np.clip(seen, 0, most)) / 2
    variance = np.maximum(paired - own, 0)
    variance[original] = own
    deviation = np.maximum(np.sqrt(variance), LEAST_DEVIATION)
    deviation = np.maximum(deviation, LEAST_SPREAD * deviation.max())
    return Normals(-mean if direction == "minimize" else mean, deviation)


def best_probability(believed: Normals) -> Float64Array:
    """Return the probability that each candidate is the best, float64 (N,), in sum 1.

    It integrates the density of each times the distribution functions of the others by the
    trapezoidal rule, whose error falls exponentially for such functions: below 1e-8 with four steps
    for the smallest deviation. There is nothing random in it.
    """
    mean, deviation = believed.mean, believed.deviation
    step = float(deviation.min()) / STEPS_PER_DEVIATION
    low = float((mean - REACH * deviation).max())  # below it, one of them is higher
    high = float((mean + REACH * deviation).max())
    at = low + step * np.arange(int(np.ceil((high - low) / step)) + 1)
    away = (at - mean[:, None]) / deviation[:, None]
    below = ndtr(away)
    density = np.exp(-0.5 * away * away) / deviation[:, None]
    before, after = np.ones_like(below), np.ones_like(below)
    np.cumprod(below[:-1], axis=0, out=before[1:])
    np.cumprod(below[:0:-1], axis=0, out=after[-2::-1])
    mass = (density * before * after).sum(axis=1)
    return np.asarray(mass / mass.sum(), np.float64)


def _variance(ends: Float64Array) -> Float64Array:
    """Return the variances of normals with these 90 % intervals, (N, 2)."""
    return np.asarray(((ends[:, 1] - ends[:, 0]) / (2 * Z90)) ** 2, np.float64)
