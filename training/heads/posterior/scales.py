"""Draw the scale of effects from a grid whose lowest value is next to no effect."""

import numpy as np

from augrank.arrays import Float64Array

# Deviations that effects may have, in log odds.
SCALES = 0.01 * 2.0 ** (np.arange(49) / 6)


def log_evidence(
    variance: Float64Array | float, precision: Float64Array, pull: Float64Array
) -> Float64Array:
    """Return the log likelihood ratio of normal effects of a variance to none.

    Args:
        variance: a number, or an array that broadcasts with ``precision``.
        precision: (K,) or (S, K), of the likelihood of each effect.
        pull: likewise.
    """
    inside = 1 + variance * precision
    return np.asarray((variance * pull**2 / inside - np.log(inside)) / 2)


def draw_scale(
    log_likelihood: Float64Array,
    scales: Float64Array,
    no_effect: float,
    rng: np.random.Generator,
) -> float:
    """Draw a scale.

    Args:
        log_likelihood: (S,) of each scale.
        scales: (S,).
        no_effect: prior probability of the first.
        rng: random numbers.
    """
    return float(scales[draw_index(log_likelihood + log_prior(scales, no_effect), rng)])


def log_prior(scales: Float64Array, no_effect: float) -> Float64Array:
    """Return the log prior of scales: of the first ``no_effect``, of the others alike."""
    prior = np.full(len(scales), np.log((1 - no_effect) / (len(scales) - 1)))
    prior[0] = np.log(no_effect)
    return prior


def draw_index(log_weight: Float64Array, rng: np.random.Generator) -> int:
    """Draw a number with probabilities proportional to exp(log_weight): the Gumbel-max trick."""
    return int(np.argmax(log_weight + rng.gumbel(size=len(log_weight))))
