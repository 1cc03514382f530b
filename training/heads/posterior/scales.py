"""Draw the scale of effects from a grid whose lowest value is next to no effect."""

import numpy as np

from augrank.arrays import Float64Array

# Deviations that effects may have, in log odds.
SCALES = 0.01 * 2.0 ** (np.arange(49) / 6)
TOGETHER = 8  # factors whose logarithm is taken at once: each is below 1e38


def log_evidence(
    variance: Float64Array, precision: Float64Array, pull: Float64Array
) -> Float64Array:
    """Return the log likelihood ratio of normal effects of a variance to none, (S,).

    Args:
        variance: (S, 1) or (S, K) or (K,).
        precision: (K,) or (S, K), of the likelihood of each effect.
        pull: likewise.
    """
    inside = variance * precision
    inside += 1
    fit = variance * pull**2
    fit /= inside
    return np.asarray((fit.sum(axis=-1) - log_product(inside)) / 2)


def log_product(factors: Float64Array) -> Float64Array:
    """Return the logarithm of the product of each row, (S,); ``factors`` are (S, K) and above 0."""
    count = factors.shape[1] // TOGETHER
    split = count * TOGETHER
    # A logarithm takes ten times as long as a product.
    parts = factors[:, :split].reshape(len(factors), TOGETHER, count).prod(axis=1)
    return np.asarray(np.log(parts).sum(axis=1) + np.log(factors[:, split:].prod(axis=1)))


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
