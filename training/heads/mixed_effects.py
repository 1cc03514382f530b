"""Sample the posterior of a head: a mixed-effects logistic regression, by Gibbs sampling.

The model is that of ``augrank/trust/posterior.py``. Effects form groups (augmentation, each context
column, each column x augmentation). The effects of a group follow a Student-t distribution around
zero; its scale and its tail are learned, and a large part of the prior says that there is next to
no effect (a spike and slab; George and McCulloch, 1993). So a group without effect adds little to
an interval, and a single large effect is not shrunk with its group. The effects of images and of
versions are normal, with learned deviations of the same kind of prior.

XGBoost's score has two slopes, one for the score of the image and one for the difference of a
version from it: that difference may be an artefact of what the augmentation does to the features.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from augrank.arrays import Float32Array, Float64Array
from augrank.trust.posterior import ImageEffects, Posterior, probabilities
from training.heads.design import Design, History
from training.heads.gibbs import GibbsSampler

BURN_IN, DRAWS = 40, 200  # sweeps once the likelihood is settled


@dataclass(frozen=True)
class FittedEffects:
    """Draws of a posterior, M of each, and the effects of the images that it was fitted to."""

    design: Design
    effects: Float64Array  # (M, D)
    slopes: Float64Array  # (M, 2): of the image's score, and of the version's
    deviation: Float64Array  # (M,) of the effects of images
    version_deviation: Float64Array  # (M,) of the effects of versions
    images: NDArray[np.int64]  # (I,) numbers of the originals, ascending
    image_mean: Float64Array  # (I,) of their effects
    image_deviation: Float64Array  # (I,) of their effects

    def posterior(
        self, projection: Float64Array, correction: Float64Array, catalogue: NDArray[np.int64]
    ) -> Posterior:
        """Return the posterior of a head.

        Args:
            projection: (D,) of its booster's margins, see ``Cells.project``.
            correction: (I,) of its scores, see ``ImageEffects``.
            catalogue: number of the original of each row of the catalogue.
        """
        row = np.searchsorted(self.images, catalogue)
        fitted = np.append(self.images, -1)[row] == catalogue
        row *= fitted
        known = (self.image_mean[row], self.image_deviation[row], correction[row])
        unknown = ImageEffects.unknown(len(catalogue))
        return Posterior(
            effects=self.design.effects(self.effects),
            image_slope=self.slopes[:, 0].astype(np.float32),
            version_slope=self.slopes[:, 1].astype(np.float32),
            deviation=self.deviation.astype(np.float32),
            version_deviation=self.version_deviation.astype(np.float32),
            projection=self.design.effects(projection[None]),
            catalogue=ImageEffects(
                *(
                    np.where(fitted, values, getattr(unknown, each.name)).astype(np.float32)
                    for values, each in zip(known, fields(ImageEffects), strict=True)
                )
            ),
            center=self.design.center,
            scale=self.design.scale,
        )

    def predict(self, contexts: Float32Array, history: History) -> Float64Array:
        """Return draws of the probabilities of rows of other images, float64 (M, R)."""
        nothing = np.zeros(self.effects.shape[1]), np.zeros(len(self.images))
        posterior = self.posterior(*nothing, np.empty(0, np.int64))
        odds = posterior.log_odds(
            history.level,
            contexts[history.context],
            history.image_score.astype(np.float32),
            history.version_score.astype(np.float32),
        )
        images, place = np.unique(history.image, return_inverse=True)
        odds += posterior.image_effects(ImageEffects.unknown(len(images)), images)[:, place]
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
    coefficients, deviations = [], []
    total, squares = np.zeros(len(sampler.images)), np.zeros(len(sampler.images))
    sampler.settle()
    for sweep in range(BURN_IN + DRAWS):
        sampler.sweep()
        if sweep >= BURN_IN:
            nested = sampler.nested
            coefficients.append(sampler.coefficients.copy())
            deviations.append((nested.deviation, nested.version_deviation))
            total, squares = total + nested.effect, squares + nested.effect**2
    drawn, mean = np.array(coefficients), total / DRAWS
    return FittedEffects(
        design=design,
        effects=drawn[:, :-2],
        slopes=drawn[:, -2:],
        deviation=np.array(deviations)[:, 0],
        version_deviation=np.array(deviations)[:, 1],
        images=sampler.images,
        image_mean=mean,
        image_deviation=np.sqrt(np.maximum(squares / DRAWS - mean**2, 0)),
    )
