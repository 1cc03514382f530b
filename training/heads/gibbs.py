"""Gibbs sampling of a mixed-effects logistic regression.

Polya-Gamma variables make every conditional distribution normal (Polson, Scott and Windle, 2013).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from polyagamma import random_polyagamma
from scipy import sparse
from scipy.linalg import cholesky, solve_triangular

from augrank.arrays import Float32Array, Float64Array
from training.heads.design import Design, History, between_and_within

GROUP_SCALE, IMAGE_SCALE = 0.05, 0.1  # of the half-Cauchy priors, in log odds
FEW_TRIALS, MANY_TRIALS = 12, 30
START_DEVIATION, MIN_VARIANCE = 0.5, 1e-8
INTERCEPT_DEVIATION = 3.0  # around the log odds of all outcomes
SLOPE_BETWEEN, SLOPE_WITHIN = (1.0, 1.0), (0.0, 0.5)  # mean and deviation of the priors


@dataclass(frozen=True)
class Counts:
    """Distinct rows of a history, with counts of their outcomes: arrays (R,)."""

    level: NDArray[np.int64]
    context: NDArray[np.int64]
    image: NDArray[np.int64]  # in 0 .. I - 1
    version: NDArray[np.int64]  # in 0 .. V - 1
    covariates: Float64Array  # (R, 2) score of the image, and of the row less that of the image
    successes: Float64Array
    trials: Float64Array  # positive

    @classmethod
    def of(cls, history: History, image: NDArray[np.int64]) -> Self:
        """Merge rows of the same embedding, augmentation and context."""
        history, image = history[history.weight > 0], image[history.weight > 0]
        keys = np.stack([history.embedding, history.level, history.context])
        _, first, row = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        return cls(
            history.level[first],
            history.context[first],
            image[first],
            np.unique(history.embedding[first], return_inverse=True)[1],
            between_and_within(history.score[first], image[first]),
            np.bincount(row, history.label * history.weight).astype(np.float64),
            np.bincount(row, history.weight).astype(np.float64),
        )


class GibbsSampler:
    """The state of the Gibbs sampler.

    Rows with the same augmentation and context share a cell, so that the cost of the normal
    equations depends on the number of cells. The coefficients are the effects in a group, the
    intercept and the two slopes.
    """

    def __init__(
        self,
        design: Design,
        contexts: Float32Array,
        history: History,
        rng: np.random.Generator,
    ) -> None:
        self.images, image = np.unique(history.image, return_inverse=True)
        self.rng, self._counts = rng, Counts.of(history, image)
        counts = self._counts
        active = design.active
        place = np.zeros(design.size, np.int64)
        place[active] = np.arange(len(active))
        self._groups = [place[group] for group in design.groups]
        keys, self._cell = np.unique(
            counts.level * len(contexts) + counts.context, return_inverse=True
        )
        level, context = np.divmod(keys, len(contexts))
        self._cells = design.matrix(level, contexts[context])
        self._kappa = counts.successes - counts.trials / 2

        share = (counts.successes.sum() + 0.5) / (counts.trials.sum() + 1)
        slopes = (SLOPE_BETWEEN, SLOPE_WITHIN)
        self._prior_mean = np.zeros(len(active) + 2)
        self._prior_mean[0] = np.log(share / (1 - share))
        self._prior_mean[-2:] = [mean for mean, _ in slopes]
        self._prior_precision = np.ones(len(active) + 2)
        self._prior_precision[0] = INTERCEPT_DEVIATION**-2
        self._prior_precision[-2:] = [deviation**-2 for _, deviation in slopes]
        self.coefficients = self._prior_mean.copy()
        self._variance = np.full(len(self._groups), START_DEVIATION**2)
        self._local = [np.ones(len(group)) for group in self._groups]
        self.of_images = RandomEffect(self._counts.image, rng)
        self.of_versions = RandomEffect(self._counts.version, rng)
        self._random = (self.of_images, self.of_versions) if design.versions else (self.of_images,)

    @property
    def scores(self) -> Float64Array:
        """The score of each image, (I,)."""
        scores = np.zeros(len(self.images))
        scores[self._counts.image] = self._counts.covariates[:, 0]
        return scores

    def sweep(self) -> None:
        """Draw everything once, each given the rest."""
        random = self._random_odds()
        omega = polya_gamma(self._counts.trials, self._fixed() + random, self.rng)
        self._draw_coefficients(omega, self._kappa - omega * random)
        fixed = self._fixed()
        for each in self._random:
            others = random - each.odds
            each.draw(omega, self._kappa - omega * (fixed + others))
            random = others + each.odds
        self._draw_scales()

    def _random_odds(self) -> Float64Array:
        """Return what images and versions add to the log odds of the rows, (R,)."""
        return np.asarray(sum(each.odds for each in self._random), np.float64)

    def _fixed(self) -> Float64Array:
        """Return the log odds of the rows without the effects of images, (R,)."""
        coefficients = self.coefficients
        cells = self._cells @ coefficients[:-2]
        return np.asarray(cells[self._cell] + self._counts.covariates @ coefficients[-2:])

    def _draw_coefficients(self, omega: Float64Array, target: Float64Array) -> None:
        cells, cell, covariates = self._cells, self._cell, self._counts.covariates
        size, count = len(self.coefficients), cells.shape[0]
        precision = np.empty((size, size))
        weighted = sparse.diags_array(np.bincount(cell, omega, count)) @ cells
        precision[:-2, :-2] = (cells.T @ weighted).toarray()
        shift = np.empty(size)
        shift[:-2] = cells.T @ np.bincount(cell, target, count)
        for number, covariate in enumerate(covariates.T, start=size - 2):
            cross = cells.T @ np.bincount(cell, omega * covariate, count)
            precision[number, :-2] = precision[:-2, number] = cross
        precision[-2:, -2:] = covariates.T @ (omega[:, None] * covariates)
        shift[-2:] = covariates.T @ target
        precision[np.diag_indices(size)] += self._prior_precision
        shift += self._prior_precision * self._prior_mean
        root = cholesky(precision, lower=True, overwrite_a=True, check_finite=False)
        mean = solve_triangular(root, shift, lower=True, check_finite=False)
        mean += self.rng.normal(size=size)
        self.coefficients = solve_triangular(root, mean, lower=True, trans=1, check_finite=False)

    def _draw_scales(self) -> None:
        """Draw each group's variance, and the local ones that make its prior Cauchy."""
        for number, group in enumerate(self._groups):
            square = self.coefficients[group] ** 2
            variance, size = float(self._variance[number]), len(group)
            local = (0.5 + 0.5 * square / variance) / self.rng.gamma(1.0, size=size)
            variance = _draw_variance(
                variance, GROUP_SCALE, float((square / local).sum()), size, self.rng
            )
            self._variance[number], self._local[number] = variance, local
            self._prior_precision[group] = 1 / np.maximum(variance * local, MIN_VARIANCE)


class RandomEffect:
    """Normal effects of the images, or versions, that rows belong to.

    Args:
        number: (R,) of each row's image, in 0 .. I - 1.
        rng: random numbers.
    """

    def __init__(self, number: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._number, self._rng = number, rng
        self.effect, self._variance = np.zeros(int(number.max()) + 1), START_DEVIATION**2

    @property
    def deviation(self) -> float:
        """The current deviation of the effects."""
        return float(np.sqrt(self._variance))

    @property
    def odds(self) -> Float64Array:
        """The current effect of each row, (R,)."""
        return self.effect[self._number]

    def draw(self, omega: Float64Array, target: Float64Array) -> None:
        """Draw the effects and their variance.

        Args:
            omega: (R,) Polya-Gamma variables.
            target: (R,) outcomes less what all other terms explain, times omega.
        """
        count = len(self.effect)
        precision = np.bincount(self._number, omega, count) + 1 / self._variance
        pull = np.bincount(self._number, target, count)
        self.effect = pull / precision + self._rng.normal(size=count) / np.sqrt(precision)
        self._variance = _draw_variance(
            self._variance, IMAGE_SCALE, float(self.effect @ self.effect), count, self._rng
        )


def _draw_variance(
    variance: float, scale: float, square: float, size: int, rng: np.random.Generator
) -> float:
    """Draw a variance with a half-Cauchy prior on its root (Makalic and Schmidt, 2016)."""
    auxiliary = (1 / variance + scale**-2) / rng.gamma(1.0)
    drawn = (1 / auxiliary + square / 2) / rng.gamma((size + 1) / 2)
    return max(float(drawn), MIN_VARIANCE)


def polya_gamma(trials: Float64Array, odds: Float64Array, rng: np.random.Generator) -> Float64Array:
    """Draw PG(trials, odds), normal with its mean and variance for many trials, (R,)."""
    many = trials >= MANY_TRIALS
    few = (trials < FEW_TRIALS) & (trials == np.round(trials))  # devroye takes whole numbers
    drawn = np.empty(len(trials))
    for inside, method in ((few, "devroye"), (~few & ~many, "saddle")):  # the faster one for each
        if inside.any():
            drawn[inside] = random_polyagamma(
                trials[inside], odds[inside], method=method, random_state=rng
            )
    z = np.maximum(np.abs(odds[many]), 1e-3)
    mean = trials[many] * np.tanh(z / 2) / (2 * z)
    variance = trials[many] * (np.tanh(z / 2) * 2 - z / np.cosh(z / 2) ** 2) / (4 * z**3)
    drawn[many] = np.maximum(mean + np.sqrt(variance) * rng.normal(size=len(z)), mean / 10)
    return drawn
