"""Sample the posterior of a head: a mixed-effects logistic regression, by Gibbs sampling.

The model is that of ``augrank/trust/posterior.py``. Effects form groups (augmentation, each context
column, each column x augmentation). The effects of a group follow a Student-t distribution around
zero; its scale and its tail are learned, and a large part of the prior says that there is next to
no effect (a spike and slab; George and McCulloch, 1993). So a group without effect adds little to
an interval, and a single large effect is not shrunk with its group. The effects of images and of
versions are normal, with learned deviations of the same kind of prior.

XGBoost's score has a slope for the score of the image, and one for each augmentation for the
difference of its version from it: that difference may say which images it helps, or be an artefact
of what it does to the features. A last slope is that of the mean of these differences over an
image's versions (Mundlak, 1978): they make up for the noise in the score of the unchanged image,
which says nothing about differences between versions. For an image without outcomes it is not
known beyond what its own score lets expect, and adds to its deviation.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from augrank.arrays import Float32Array, Float64Array
from augrank.trust.posterior import FACTORS, ImageEffects, Posterior, probabilities
from training.heads.dataset import UNCHANGED
from training.heads.posterior.design import Design, History
from training.heads.posterior.gibbs import GibbsSampler

BURN_IN, DRAWS = 30, 200  # sweeps once the likelihood is settled
DRAWS_OF_MEAN = 60  # where only the mean over draws is asked for


@dataclass(frozen=True)
class FittedEffects:
    """Draws of a posterior, M of each, and the effects of the images that it was fitted to."""

    design: Design
    effects: Float64Array  # (M, D); the intercept is that of an image without outcomes
    slopes: Float64Array  # (M, 1 + A): of the image's score, and of versions' by augmentation
    deviation: Float64Array  # (M,) of the effects of images without outcomes
    version_deviation: Float64Array  # (M, A) of the effects of versions, by augmentation
    images: NDArray[np.int64]  # (I,) numbers of the originals, ascending
    factors: Float64Array  # (M, F) of the effects of the images, unchanged
    known: ImageEffects  # (I,) of the images; without corrections

    def posterior(
        self, projection: Float64Array, correction: Float64Array, catalogue: NDArray[np.int64]
    ) -> Posterior:
        """Return the posterior of a head.

        Args:
            projection: (D,) of its booster's margins, see ``Cells.project``.
            correction: (I,) of its scores, see ``ImageEffects``.
            catalogue: number of the original of each row of the catalogue.
        """
        corrected = replace(self.known, correction=correction.astype(np.float32))
        row = np.searchsorted(self.images, catalogue)
        fitted = np.append(self.images, -1)[row] == catalogue
        known = corrected.joined(ImageEffects.unknown(1))
        return Posterior(
            effects=self.design.effects(self.effects),
            image_slope=self.slopes[:, 0].astype(np.float32),
            version_slope=self.slopes[:, 1:].astype(np.float32),
            deviation=self.deviation.astype(np.float32),
            version_deviation=self.version_deviation.astype(np.float32),
            factors=self.factors.astype(np.float32),
            projection=self.design.effects(projection[None]),
            catalogue=known[np.where(fitted, row, len(self.images))],
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
        effect = posterior.new_effects(history.image, history.embedding, history.level)
        return probabilities(odds + effect)


def fit_effects(
    design: Design,
    contexts: Float32Array,
    history: History,
    rng: np.random.Generator,
    unchanged: NDArray[np.int64] | None = None,
    draws: int | None = None,
) -> FittedEffects:
    """Sample the posterior.

    Args:
        design: the effects.
        contexts: (K, C) the distinct contexts, encoded.
        history: the outcomes.
        rng: random numbers.
        unchanged: embedding of each original's unchanged image, by number; -1 if unknown.
        draws: their number; by default DRAWS.
    """
    with threadpool_limits(1):  # the matrices are too small for several threads
        sampler = GibbsSampler(design, contexts, history, rng)
        own = np.full(len(sampler.images), -1) if unchanged is None else unchanged[sampler.images]
        return _sample(design, sampler, own, rng, draws or DRAWS)


def _sample(
    design: Design,
    sampler: GibbsSampler,
    unchanged: NDArray[np.int64],
    rng: np.random.Generator,
    draws: int,
) -> FittedEffects:
    counts, nested = sampler.counts, sampler.nested
    version_mean, spread = counts.version_mean, sampler.version_mean_spread
    center = version_mean.mean()
    version = np.flatnonzero(counts.embedding == unchanged[counts.image])
    coefficients, deviations, version_deviations = [], [], []
    effects, unchanged_effects = np.empty((2, draws, len(sampler.images)), np.float32)
    sampler.settle()
    for sweep in range(-BURN_IN, draws):
        sampler.sweep()
        if sweep < 0:
            continue
        drawn = sampler.coefficients.copy()
        slope = drawn[-1]
        # Of an image without outcomes the mean of the version scores is not known.
        drawn[0] += slope * center
        coefficients.append(drawn)
        deviations.append(np.hypot(nested.deviation, slope * spread))
        version_deviations.append(nested.version_deviation.copy())
        of_version = nested.version_deviation[UNCHANGED] * rng.normal(size=len(sampler.images))
        of_version[counts.image[version]] = nested.version_effect[version]
        effects[sweep] = nested.effect + of_version + slope * (version_mean - center)
        unchanged_effects[sweep] = of_version
    drawn = np.array(coefficients)
    factors, known = _factored(effects)
    known = replace(known, **_given(effects, unchanged_effects))
    return FittedEffects(
        design=design,
        effects=drawn[:, : sampler.effects],
        slopes=drawn[:, sampler.effects : -1],
        deviation=np.array(deviations),
        version_deviation=np.array(version_deviations),
        images=sampler.images,
        factors=factors,
        known=known,
    )


def _given(effects: Float32Array, unchanged: Float32Array) -> dict[str, Float32Array]:
    """Return the part of ``ImageEffects`` on unchanged versions, given their images.

    Args:
        effects: (M, I) of unchanged images.
        unchanged: (M, I) the part of them that is their version's.
    """
    mean, variance = unchanged.mean(axis=0), effects.var(axis=0)
    covariance = ((effects - effects.mean(axis=0)) * (unchanged - mean)).mean(axis=0)
    share = covariance / np.maximum(variance, 1e-12)
    rest = np.maximum(unchanged.var(axis=0) - share * covariance, 0)
    return {
        "unchanged": mean,
        "unchanged_share": share,
        "unchanged_deviation": np.sqrt(rest),
    }


def _factored(effects: Float32Array) -> tuple[Float64Array, ImageEffects]:
    """Split draws of the effects of images into factors, and noise of each image's own.

    Args:
        effects: (M, I).

    Returns:
        The factors, (M, F), and the effects.
    """
    mean = effects.mean(axis=0)
    left, values, right = np.linalg.svd(effects - mean, full_matrices=False)
    kept = min(FACTORS, len(values))
    factors, loading = np.zeros((len(effects), FACTORS)), np.zeros((len(mean), FACTORS), np.float32)
    factors[:, :kept] = left[:, :kept] * np.sqrt(len(effects))
    loading[:, :kept] = (values[:kept, None] * right[:kept]).T / np.sqrt(len(effects))
    variance = effects.var(axis=0) - (loading**2).sum(axis=1)
    deviation = np.sqrt(np.maximum(variance, 0))
    zeros = np.zeros_like(mean)
    return factors, ImageEffects(mean, deviation, loading, zeros, zeros, zeros, zeros)
