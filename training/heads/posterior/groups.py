"""Coefficients that share a scale, such as those of all augmentations."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import gammaln

from augrank.arrays import Float64Array
from training.heads.posterior.scales import SCALES, draw_index, draw_scale, log_evidence

NO_EFFECT = 0.4  # prior probability of the lowest scale
TAILS = np.array([1.0, 3.0, 30.0])  # degrees of freedom of a group: few and large, or many alike


class Group:
    """Coefficients that share a scale, which is learned.

    At the lowest scale they are normal, and next to nothing; at others they follow Student's t with
    a learned tail, so that one large effect need not shrink with its group.
    """

    def __init__(self, positions: NDArray[np.int64], rng: np.random.Generator) -> None:
        self.positions, self._rng = positions, rng
        self._scale, self._local = float(SCALES[-1] / 4), np.ones(len(positions))
        self._alike = _GroupLikelihood(np.empty((0, 0)), np.ones(0))  # of the last precision

    @property
    def prior_precision(self) -> Float64Array:
        """The precision of each coefficient, given the scales, (K,)."""
        local = self._local if self._scale > SCALES[0] else np.ones(len(self._local))
        return np.asarray(1 / (self._scale**2 * local))

    def draw(self, precision: Float64Array, pull: Float64Array, coefficients: Float64Array) -> None:
        """Draw the scale with the group's coefficients integrated out, then these.

        Args:
            precision: (D, D) of all coefficients.
            pull: (D,) likewise.
            coefficients: (D,), of which those of the group are changed.
        """
        own = self.positions
        within = precision[np.ix_(own, own)]
        rest = pull[own] - precision[own] @ coefficients + within @ coefficients[own]
        if not np.array_equal(within, self._alike.precision):
            self._alike = _GroupLikelihood(within, np.ones(len(own)))
        varied = _GroupLikelihood(within, self._local)
        evidence = varied.log_evidence(rest, SCALES)
        evidence[0] = self._alike.log_evidence(rest, SCALES[:1])[0]
        self._scale = draw_scale(evidence, SCALES, NO_EFFECT, self._rng)
        used = varied if self._scale > SCALES[0] else self._alike
        coefficients[own] = used.draw(rest, self._scale, self._rng)

    def draw_tail(self, coefficients: Float64Array) -> None:
        """Draw the degrees of freedom, and the local variances of the t distribution."""
        active = self._scale > SCALES[0]
        square = (coefficients / self._scale) ** 2 * active
        half = (TAILS[:, None] + 1) / 2
        density = gammaln(half) - gammaln(TAILS[:, None] / 2) - np.log(TAILS[:, None]) / 2
        density = density - half * np.log1p(square / TAILS[:, None])
        tail = TAILS[draw_index(density.sum(axis=1) * active, self._rng)]
        self._local = (tail + square) / 2 / self._rng.gamma((tail + active) / 2, size=len(square))


class _GroupLikelihood:
    """A normal likelihood of K coefficients, in coordinates that make their posterior diagonal.

    Args:
        precision: (K, K).
        local: (K,) prior variances of the coefficients, relative to the square of their scale.
    """

    def __init__(self, precision: Float64Array, local: Float64Array) -> None:
        self.precision, self._root = precision, np.sqrt(local)
        scaled = precision * np.outer(self._root, self._root)
        values, self._vectors = eigh(scaled, check_finite=False) if len(local) else (local, scaled)
        self._values = np.maximum(values, 0)

    def log_evidence(self, pull: Float64Array, scales: Float64Array) -> Float64Array:
        """Return the log likelihood ratio of each scale to no effect."""
        variances = scales[:, None] ** 2
        evidence = log_evidence(variances, self._values, self._along(pull))
        return np.asarray(evidence.sum(axis=1), np.float64)

    def draw(self, pull: Float64Array, scale: float, rng: np.random.Generator) -> Float64Array:
        """Draw the coefficients, (K,)."""
        variance = scale**2 / (1 + scale**2 * self._values)
        noise = np.sqrt(variance) * rng.normal(size=len(variance))
        drawn = self._vectors @ (variance * self._along(pull) + noise)
        return np.asarray(self._root * drawn, np.float64)

    def _along(self, pull: Float64Array) -> Float64Array:
        return np.asarray(self._vectors.T @ (self._root * pull), np.float64)
