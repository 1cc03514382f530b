"""Coefficients that share a scale, such as those of all augmentations."""

import numpy as np
from scipy.linalg import lapack
from scipy.special import gammaln

from augrank.arrays import Float64Array
from training.heads.posterior.scales import SCALES, draw_index, draw_scale, log_evidence

NO_EFFECT = 0.4  # prior probability of the lowest scale
TAILS = np.array([1.0, 3.0, 30.0])  # degrees of freedom of a group: few and large, or many alike
HALF = (TAILS + 1) / 2
TAIL_DENSITY = gammaln(HALF) - gammaln(TAILS / 2) - np.log(TAILS) / 2


class Group:
    """Coefficients that share a scale, which is learned.

    At the lowest scale they are normal, and next to nothing; at others they follow Student's t with
    a learned tail, so that one large effect need not shrink with its group.
    """

    def __init__(self, positions: slice, rng: np.random.Generator) -> None:
        self.positions, self._rng = positions, rng
        self._scale = float(SCALES[-1] / 4)
        self._local = np.ones(positions.stop - positions.start)

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
        within = precision[own, own]
        rest = pull[own] - precision[own] @ coefficients + within @ coefficients[own]
        root = np.sqrt(self._local)
        values, vectors, *_ = lapack.dsyevr(root[:, None] * within * root, overwrite_a=True)
        values = np.maximum(values, 0)
        along = vectors.T @ (root * rest)
        evidence = log_evidence(SCALES[:, None] ** 2, values, along)
        alike = _Alike(within, float(SCALES[0]))
        evidence[0] = alike.log_evidence(rest)
        self._scale = draw_scale(evidence, SCALES, NO_EFFECT, self._rng)
        noise = self._rng.normal(size=len(root))
        if self._scale == SCALES[0]:
            coefficients[own] = alike.draw(rest, noise)
        else:
            variance = self._scale**2 / (1 + self._scale**2 * values)
            drawn = vectors @ (variance * along + np.sqrt(variance) * noise)
            coefficients[own] = root * drawn

    def draw_tail(self, coefficients: Float64Array) -> None:
        """Draw the degrees of freedom, and the local variances of the t distribution."""
        active = self._scale > SCALES[0]
        square = (coefficients / self._scale) ** 2 * active
        density = TAIL_DENSITY * len(square) - HALF * np.log1p(square / TAILS[:, None]).sum(axis=1)
        tail = TAILS[draw_index(density * active, self._rng)]
        self._local = (tail + square) / 2 / self._rng.gamma((tail + active) / 2, size=len(square))


class _Alike:
    """A normal likelihood of K coefficients with the same scale, by its Cholesky factor.

    Args:
        precision: (K, K).
        scale: of their prior.
    """

    def __init__(self, precision: Float64Array, scale: float) -> None:
        self._scale = scale
        inside = precision * scale**2
        inside.flat[:: len(inside) + 1] += 1
        self._root, _ = lapack.dpotrf(inside.T, lower=True, clean=False, overwrite_a=True)

    def log_evidence(self, pull: Float64Array) -> float:
        """Return the log likelihood ratio to no effect."""
        along = self._scale * self._solve(pull, transposed=False)
        return float(along @ along / 2 - np.log(np.diag(self._root)).sum())

    def draw(self, pull: Float64Array, noise: Float64Array) -> Float64Array:
        """Draw the coefficients, (K,); ``noise`` is standard normal, (K,)."""
        along = self._scale * self._solve(pull, transposed=False) + noise
        return self._scale * self._solve(along, transposed=True)

    def _solve(self, values: Float64Array, *, transposed: bool) -> Float64Array:
        solved, _ = lapack.dtrtrs(self._root, values, lower=True, trans=int(transposed))
        return np.asarray(solved, np.float64)
