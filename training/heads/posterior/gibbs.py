"""Gibbs sampling of a mixed-effects logistic regression.

The likelihood of each row is replaced by a normal one: its slope and its curvature are those that
the logistic one has on average over the posterior of the row's log odds (Gaussian variational
approximation; Ormerod and Wand, 2012). Given this, every conditional distribution is normal or on a
grid. Effects of images and versions are integrated out exactly, so that coefficients move freely
even where the effects of images are known to the last digit; and so is each group of coefficients
while its scale is drawn, which lets the scale jump between "no effect" and "some effect".

Polya-Gamma variables (Polson, Scott and Windle, 2013) would need no approximation, but their chains
hardly move where outcomes are rare: of 1,000 sweeps at a rate of 0.2 %, ten are independent.
"""

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import expit

from augrank.arrays import Float32Array, Float64Array
from training.heads.posterior.design import Design, History
from training.heads.posterior.groups import Group
from training.heads.posterior.likelihood import Counts, Likelihood
from training.heads.posterior.nested_effects import NestedEffects

INTERCEPT_DEVIATION = 3.0  # around the log odds of all outcomes
# Means and deviations of the priors of the slopes: of the image's score, of the versions' scores by
# augmentation, and of the mean of the versions' scores.
IMAGE_SLOPE, VERSION_SLOPE, MEAN_SLOPE = (1.0, 1.0), (0.0, 0.5), (0.0, 0.5)
ROUNDS, ROUND_SWEEPS = 8, 10  # after each round, the likelihood is approximated anew
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(9)  # of the standard normal distribution
WEIGHTS = WEIGHTS / WEIGHTS.sum()
MAX_STEP, MAX_SPREAD = 1.5, 2.0  # of a row's log odds from one round to the next, and in one


class GibbsSampler:
    """The state of the Gibbs sampler.

    Rows with the same augmentation and context share a cell. The coefficients are the active
    effects of the design, and the slopes.
    """

    def __init__(
        self,
        design: Design,
        contexts: Float32Array,
        history: History,
        rng: np.random.Generator,
    ) -> None:
        history = history[history.weight > 0]
        self.images, image = np.unique(history.image, return_inverse=True)
        self._rng, self.counts = rng, Counts.of(history, image, design.augmentations)
        counts = self.counts
        self._cells = design.cells(counts.level, counts.context, contexts)
        self._groups = [Group(positions, rng) for positions in design.active_groups]
        self.nested = NestedEffects(
            counts.image, len(self.images), counts.version_level, design.augmentations, rng
        )

        share = (counts.successes.sum() + 0.5) / (counts.trials.sum() + 1)
        self.effects = self._cells.matrix.shape[1]
        slopes = [IMAGE_SLOPE, *[VERSION_SLOPE] * design.augmentations, MEAN_SLOPE]
        self._prior_mean = np.zeros(self.effects + len(slopes))
        self._prior_mean[0] = np.log(share / (1 - share))
        self._prior_mean[self.effects :] = [mean for mean, _ in slopes]
        self._prior_precision = np.ones(len(self._prior_mean))
        self._prior_precision[0] = INTERCEPT_DEVIATION**-2
        self._prior_precision[self.effects :] = [deviation**-2 for _, deviation in slopes]
        self.coefficients = self._prior_mean.copy()
        known = counts.version_mean[counts.version_mean_known]
        self.version_mean_spread = float(known.std()) if len(known) else 0.0
        self._center = self._odds()
        self._likelihood = self._approximate(np.zeros(len(self._center)))

    def settle(self) -> None:
        """Approximate the likelihood around the posterior, in rounds."""
        for _ in range(ROUNDS):
            drawn = []
            for _ in range(ROUND_SWEEPS):
                self.sweep()
                drawn.append(self._odds())
            # An approximation that is still far off must not throw the next one further.
            step = np.clip(np.mean(drawn, axis=0) - self._center, -MAX_STEP, MAX_STEP)
            self._center = self._center + step
            self._likelihood = self._approximate(np.minimum(np.std(drawn, axis=0), MAX_SPREAD))

    def sweep(self) -> None:
        """Draw everything once."""
        precision, pull = self.nested.integrate(self._likelihood)
        for group in self._groups:
            group.draw(precision, pull, self.coefficients)
            self._prior_precision[group.positions] = group.prior_precision
        self._draw_coefficients(precision, pull)
        for group in self._groups:
            group.draw_tail(self.coefficients[group.positions])
        unknown = ~self.counts.version_mean_known
        self.nested.unexplained = unknown * (self.coefficients[-1] * self.version_mean_spread) ** 2
        self.nested.draw(self._likelihood, self.coefficients)

    def _odds(self) -> Float64Array:
        """Return the current log odds of the rows, (R,)."""
        counts, effects, slopes = self.counts, *np.split(self.coefficients, [self.effects])
        fixed = self._cells(effects) + counts.scores @ slopes
        return np.asarray(fixed + self.nested.odds[counts.version])

    def _approximate(self, deviation: Float64Array) -> Likelihood:
        """Return the normal likelihood around the center, with the rows' deviations, (R,)."""
        counts, mean = self.counts, self._center
        likely = expit(mean + NODES[:, None] * deviation)
        expected, curvature = WEIGHTS @ likely, WEIGHTS @ (likely * (1 - likely))
        omega = counts.trials * curvature
        target = counts.successes - counts.trials * expected + omega * mean
        return Likelihood.of(counts, self._cells.matrix, self._cells.number, omega, target)

    def _draw_coefficients(self, precision: Float64Array, pull: Float64Array) -> None:
        """Draw all coefficients together."""
        size = len(pull)
        precision = precision + np.diag(self._prior_precision)
        pull = pull + self._prior_precision * self._prior_mean
        root = cholesky(precision, lower=True, overwrite_a=True, check_finite=False)
        mean = solve_triangular(root, pull, lower=True, check_finite=False)
        mean += self._rng.normal(size=size)
        self.coefficients = solve_triangular(root, mean, lower=True, trans=1, check_finite=False)
