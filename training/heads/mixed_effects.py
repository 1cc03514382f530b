"""Sample the posterior of a head: a mixed-effects logistic regression, by Gibbs sampling.

The model is that of ``augrank/trust/posterior.py``. Effects have Cauchy priors within each group
(augmentation, each context column, each column x augmentation) whose common scale is learned with a
half-Cauchy prior (Carvalho, Polson and Scott, 2010): a group without effect shrinks to nothing, and
a single large effect is not shrunk with it. Effects of images are normal with a learned deviation.
Polya-Gamma variables make every conditional distribution normal (Polson, Scott and Windle, 2013).

XGBoost's score enters as two covariates: the mean over the rows of an image, and a row's difference
from that mean. The second has its own slope, because differences between versions of one image may
be an artefact of what the augmentation does to the features.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from augrank.arrays import Float32Array, Float64Array
from augrank.trust.posterior import ImageEffects, Posterior, probabilities
from training.heads.design import Design, History, between_and_within
from training.heads.gibbs import GibbsSampler

SWEEPS, BURN_IN, DRAWS = 500, 100, 200


@dataclass(frozen=True)
class FittedEffects:
    """Draws of a posterior, M of each, and the effects of the images that it was fitted to."""

    design: Design
    effects: Float64Array  # (M, D)
    slopes: Float64Array  # (M, 2): between, within
    deviation: Float64Array  # (M,) of the effects of images
    version_deviation: Float64Array  # (M,) and of their versions
    images: NDArray[np.int64]  # (I,) numbers of the originals, ascending
    known: ImageEffects  # what is known of these

    def posterior(self, projection: Float64Array, catalogue: NDArray[np.int64]) -> Posterior:
        """Return the posterior of a head.

        Args:
            projection: (D,) of its booster's margins, see ``project``.
            catalogue: number of the original of each row of the catalogue.
        """
        row = np.searchsorted(self.images, catalogue)
        fitted = np.append(self.images, -1)[row] == catalogue
        known, rest = self.known[row * fitted], ImageEffects.unknown(len(catalogue))
        slopes = self.slopes.astype(np.float32)
        return Posterior(
            effects=self.design.effects(self.effects),
            slope_between=slopes[:, 0],
            slope_within=slopes[:, 1],
            deviation=self.deviation.astype(np.float32),
            version_deviation=self.version_deviation.astype(np.float32),
            projection=self.design.effects(projection[None]),
            catalogue=ImageEffects(
                *(
                    np.where(fitted, getattr(known, each.name), getattr(rest, each.name))
                    for each in fields(ImageEffects)
                )
            ),
            center=self.design.center,
            scale=self.design.scale,
        )

    def predict(self, contexts: Float32Array, history: History) -> Float64Array:
        """Return draws of the probabilities of rows of other images, float64 (M, R)."""
        posterior = self.posterior(np.zeros(self.effects.shape[1]), np.empty(0, np.int64))
        image = np.unique(history.image, return_inverse=True)[1]
        between, within = between_and_within(history.score, image).astype(np.float32).T
        odds = posterior.log_odds(history.level, contexts[history.context], between, within)
        odds += posterior.image_effects(ImageEffects.unknown(int(image.max()) + 1))[:, image]
        odds += posterior.version_effects(history.embedding)
        return probabilities(odds)


def fit_effects(
    design: Design, contexts: Float32Array, history: History, rng: np.random.Generator
) -> FittedEffects:
    """Sample DRAWS draws.

    Args:
        design: the effects.
        contexts: (K, C) the distinct contexts, encoded.
        history: the outcomes.
        rng: random numbers.
    """
    with threadpool_limits(1):  # the matrices are too small for several threads
        return _sample(design, GibbsSampler(design, contexts, history, rng))


def _sample(design: Design, sampler: GibbsSampler) -> FittedEffects:
    every = (SWEEPS - BURN_IN) // DRAWS
    coefficients, deviation, version_deviation = [], [], []
    total, squares = np.zeros(len(sampler.images)), np.zeros(len(sampler.images))
    for sweep in range(SWEEPS):
        sampler.sweep()
        if sweep >= BURN_IN and (sweep - BURN_IN) % every == 0:
            coefficients.append(sampler.coefficients)
            deviation.append(sampler.of_images.deviation)
            version_deviation.append(sampler.of_versions.deviation if design.versions else 0.0)
            effect = sampler.of_images.effect
            total, squares = total + effect, squares + effect**2
    drawn, mean = np.array(coefficients), total / DRAWS
    spread = np.sqrt(np.maximum(squares / DRAWS - mean**2, 0))
    return FittedEffects(
        design=design,
        effects=drawn[:, :-2],
        slopes=drawn[:, -2:],
        deviation=np.array(deviation),
        version_deviation=np.array(version_deviation),
        images=sampler.images,
        known=ImageEffects(
            mean.astype(np.float32), spread.astype(np.float32), sampler.scores.astype(np.float32)
        ),
    )
