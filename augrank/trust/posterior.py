"""Posterior draws of a head: what the data say about augmentation, context and image.

A head's probability is a mixed-effects logistic regression with XGBoost's score as a covariate:

    log odds = intercept + augmentation + context + augmentation x context
             + image slope * score of the image
             + slope of the augmentation * (score - score of the image)
             + effect of the image + effect of its version

The score is the part of XGBoost's margin that augmentation and context do not explain linearly:
what the look adds, and what only trees see. The score of the image is that of the unchanged image
in the same context. An image without outcomes has an effect drawn from the distribution over
images, so its probability is less certain than that of one with outcomes; the effect of a version
is what an augmentation does to one image and not to others.

The effect of an image with outcomes depends on the coefficients: where these are higher, it is
lower, since their sum is what the outcomes show. So it is stored as loadings on factors that have a
value in each draw, and its own noise.

Training samples the posterior (``training/heads/posterior``); a server only evaluates M stored
draws. Candidates of one request share their draws, so that their differences are paired: whatever
is unsure about the image cancels.
"""

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array, read_arrays
from augrank.errors import BundleError, reason

MAX_LOG_ODDS = 30.0  # beyond these a probability is 0 or 1
FACTORS = 16  # F, of the effects of images with outcomes
CACHED_IMAGES = 1001  # the request's and its alternates
FIRST_VERSION = 1 << 40  # numbers of versions, beyond those of images


def standard_normal(number: NDArray[np.int64], draws: int) -> Float32Array:
    """Return the standard normal draws of each number, float32 (draws, N).

    They are hashes (SplitMix64; Steele, Lea and Flood, 2014) made normal by Box and Muller (1958),
    so that they are the same everywhere. Those of one number have mean 0 and variance 1 exactly.
    """
    draw = np.arange(draws, dtype=np.uint64)[:, None]
    seed = (number.astype(np.uint64) << np.uint64(20)) + (draw << np.uint64(1))
    radius = np.sqrt(-2 * np.log(_uniform(seed)))
    drawn = radius * np.cos(2 * np.pi * _uniform(seed + np.uint64(1)))
    return np.asarray((drawn - drawn.mean(axis=0)) / drawn.std(axis=0), np.float32)


def _uniform(seed: NDArray[np.uint64]) -> Float64Array:
    """Return hashes of seeds in (0, 1)."""
    mixed = (seed + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53 + 2.0**-54


@functools.cache
def _of_a_request(first: int, draws: int) -> Float32Array:
    """Return the draws of the numbers that one request needs, from ``first``."""
    return standard_normal(first + np.arange(CACHED_IMAGES), draws)


def probabilities(log_odds: Float32Array) -> Float64Array:
    """Return the probabilities of log odds, float64 of the same shape."""
    inside = np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS).astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-inside)), np.float64)


@dataclass(frozen=True)
class Effects:
    """M linear predictors over augmentation and context."""

    intercept: Float32Array  # (M,)
    augmentation: Float32Array  # (M, A)
    context: Float32Array  # (M, C)
    interaction: Float32Array  # (M, A, C)

    def __call__(self, level: NDArray[np.int64], context: Float32Array) -> Float32Array:
        """Evaluate rows.

        Args:
            level: (N,) augmentation of each row.
            context: (N, C), or (C,) for one context for all rows.

        Returns:
            float32 (M, N).
        """
        total = self.intercept[:, None] + self.augmentation[:, level]
        if context.ndim == 1:
            common = (self.context @ context)[:, None]
            return np.asarray(total + common + (self.interaction @ context)[:, level])
        total = total + self.context @ context.T
        for number in range(self.augmentation.shape[1]):
            rows = level == number
            total[:, rows] += self.interaction[:, number] @ context[rows].T
        return np.asarray(total)


@dataclass(frozen=True)
class ImageEffects:
    """What training knows of N images from their own outcomes.

    An image with outcomes has the posterior of its effect, and that of its unchanged version. The
    head's booster was trained on these outcomes, and its score would count them twice: the
    correction leads to the score of a booster that was not.
    """

    mean: Float32Array  # (N,), 0 if unknown
    deviation: Float32Array  # (N,) of its own noise; NaN if unknown: as of any other image
    loading: Float32Array  # (N, F) on the factors, 0 if unknown
    unchanged: Float32Array  # (N,) mean of the effect of the unchanged version alone, 0 if unknown
    unchanged_share: Float32Array  # (N,) of it in the image's effect beyond the mean, 0 if unknown
    unchanged_deviation: Float32Array  # (N,) of the rest, 0 if unknown
    correction: Float32Array  # (N,) of the score, 0 if unknown

    @classmethod
    def unknown(cls, count: int) -> Self:
        """Return the effects of images without outcomes."""
        zeros = np.zeros(count, np.float32)
        nothing = np.zeros((count, FACTORS), np.float32)
        return cls(zeros, np.full(count, np.nan, np.float32), nothing, zeros, zeros, zeros, zeros)

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "ImageEffects":
        return ImageEffects(*(getattr(self, each.name)[rows] for each in fields(self)))

    def joined(self, other: "ImageEffects") -> "ImageEffects":
        """Return these images and others."""
        return ImageEffects(
            *(
                np.concatenate([getattr(self, each.name), getattr(other, each.name)])
                for each in fields(self)
            )
        )

    def best_known(self, copies: NDArray[np.int64]) -> int:
        """Return the first row with outcomes of those of one image's copies, else their first."""
        return int(copies[np.argmin(np.isnan(self.deviation[copies]))])


@dataclass(frozen=True)
class Posterior:
    """M draws from a head's posterior."""

    effects: Effects
    image_slope: Float32Array  # (M,)
    version_slope: Float32Array  # (M, A), by augmentation
    deviation: Float32Array  # (M,) of the effects of images without outcomes, in log odds
    version_deviation: Float32Array  # (M, A) of the effects of versions, by augmentation
    factors: Float32Array  # (M, F) of the effects of images with outcomes
    projection: Effects  # of XGBoost's margin on augmentation and context, M = 1
    catalogue: ImageEffects  # of the run's catalogue, by row
    center: Float32Array  # (C,) of the context, subtracted before the division by scale
    scale: Float32Array  # (C,)

    @property
    def draws(self) -> int:
        """The number of draws, M."""
        return len(self.deviation)

    def score(
        self, margin: Float32Array, level: NDArray[np.int64], context: Float32Array
    ) -> Float32Array:
        """Return the part of XGBoost's margins that augmentation and context do not explain, (N,).

        Args:
            margin: (N,) of the head.
            level: (N,) augmentation of each row.
            context: (N, C) or (C,), encoded.
        """
        explained = self.projection(level, self._standardized(context))[0]
        return np.asarray(margin - explained, np.float32)

    def log_odds(
        self,
        level: NDArray[np.int64],
        context: Float32Array,
        image_score: Float32Array,
        version_score: Float32Array,
    ) -> Float32Array:
        """Return draws of the log odds of rows, without the effects of images and versions.

        Args:
            level: (N,) augmentation of each row.
            context: (N, C) or (C,), encoded.
            image_score: (N,) score of each row's image.
            version_score: (N,) score of the row less that of its image.

        Returns:
            float32 (M, N).
        """
        odds = self.effects(level, self._standardized(context))
        odds += self.image_slope[:, None] * image_score
        odds += self.version_slope[:, level] * version_score
        return odds

    def image_effects(
        self, images: ImageEffects, numbers: NDArray[np.int64], levels: NDArray[np.int64]
    ) -> Float32Array:
        """Return draws of the effects of unchanged images, float32 (M, N).

        An image of one number always has the same draws, so that an answer repeats; images without
        outcomes are independent if their numbers differ.

        Args:
            images: what is known of them, N.
            numbers: (N,) of the images.
            levels: (N,) their augmentations.
        """
        noise = self._noise(numbers, 0)
        known = np.isfinite(images.deviation)
        if known.all():
            return self._known(images, noise)
        new = self.deviation[:, None] * noise + self.version_effects(numbers, levels)
        return np.where(known, self._known(images, noise), new) if known.any() else new

    def _known(self, images: ImageEffects, noise: Float32Array) -> Float32Array:
        shared = self.factors @ images.loading.T
        return np.asarray(images.mean + shared + images.deviation * noise, np.float32)

    def new_effects(
        self,
        images: NDArray[np.int64],
        versions: NDArray[np.int64],
        levels: NDArray[np.int64],
    ) -> Float32Array:
        """Return draws of the effects of versions of images without outcomes, float32 (M, N).

        Args:
            images: (N,) numbers.
            versions: (N,) numbers.
            levels: (N,) augmentations of the versions.
        """
        rows, row = np.unique(images, return_inverse=True)
        effect = (self.deviation[:, None] * self._noise(rows, 0))[:, row]
        rows, first, row = np.unique(versions, return_index=True, return_inverse=True)
        return np.asarray(effect + self.version_effects(rows, levels[first])[:, row])

    def unchanged_effects(
        self, images: ImageEffects, effect: Float32Array, new: Float32Array
    ) -> Float32Array:
        """Return draws of the effects of unchanged versions, which those of images contain, (M, N).

        Args:
            images: what is known of them, N.
            effect: (M, N) draws of the images' effects.
            new: (M, N) draws for images without outcomes.
        """
        noise = self._noise(np.zeros(len(images), np.int64), FIRST_VERSION)
        known = images.unchanged + images.unchanged_share * (effect - images.mean)
        known += images.unchanged_deviation * noise
        return np.where(np.isfinite(images.deviation), known, new)

    def version_effects(
        self, versions: NDArray[np.int64], levels: NDArray[np.int64]
    ) -> Float32Array:
        """Return draws of the effects of versions, by number, float32 (M, N).

        Args:
            versions: (N,) numbers.
            levels: (N,) their augmentations.
        """
        noise = self._noise(versions, FIRST_VERSION)
        return np.asarray(self.version_deviation[:, levels] * noise, np.float32)

    def _noise(self, number: NDArray[np.int64], first: int) -> Float32Array:
        if len(number) and number.max() < CACHED_IMAGES:
            return np.asarray(_of_a_request(first, self.draws)[:, number])
        return standard_normal(first + number, self.draws)

    def _standardized(self, context: Float32Array) -> Float32Array:
        return np.asarray((context - self.center) / self.scale, np.float32)

    def save(self, file: Path) -> None:
        """Write the draws as .npz, float16 where that is precise enough."""
        with file.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **self._arrays())

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            BundleError: the file is not a posterior.
        """
        try:
            stored = read_arrays(file)
            arrays = {name: each.astype(np.float32) for name, each in stored.items()}
            effects, projection = (
                Effects(
                    **{each.name: arrays.pop(f"{part}_{each.name}") for each in fields(Effects)}
                )
                for part in ("effects", "projection")
            )
            catalogue = ImageEffects(
                **{each.name: arrays.pop(f"catalogue_{each.name}") for each in fields(ImageEffects)}
            )
            return cls(effects=effects, projection=projection, catalogue=catalogue, **arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{file.name} cannot be read", got=reason(error), remedy="Export the run again."
            ) from error

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for part in ("effects", "projection"):
            for each in fields(Effects):
                values = getattr(getattr(self, part), each.name)
                values = np.clip(values, -MAX_LOG_ODDS, MAX_LOG_ODDS)  # float16 would overflow
                small = part == "effects" and each.name != "intercept"
                arrays[f"{part}_{each.name}"] = values.astype(np.float16 if small else np.float32)
        for each in fields(ImageEffects):
            values = getattr(self.catalogue, each.name)
            arrays[f"catalogue_{each.name}"] = (
                values.astype(np.float16) if each.name == "loading" else values
            )
        for each in fields(self):
            if each.name not in ("effects", "projection", "catalogue"):
                arrays[each.name] = getattr(self, each.name)
        return arrays
