"""Effects of images, and of their versions, which are integrated out where others are drawn."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from scipy import sparse

from augrank.arrays import Float64Array
from training.heads.posterior.likelihood import Likelihood
from training.heads.posterior.scales import (
    SCALES,
    draw_index,
    draw_scale,
    log_evidence,
    log_prior,
    log_product,
)

VERSION_SCALES = SCALES[::2]
# Prior probabilities of the lowest scale: for images, and for versions, whose effects are rare.
NO_EFFECT, NO_VERSION_EFFECT = 0.4, 0.8
# Prior probability that an augmentation's versions deviate as those of the others; else they have a
# deviation of their own, which is mostly none.
ALIKE, NO_OWN_EFFECT = 0.8, 0.9
CACHED = 64  # sets of deviations
Sums = tuple[Float64Array, Float64Array]  # precision (D, D) and pull (D,)


@dataclass(frozen=True, eq=False)
class _Level:
    """The versions of one augmentation."""

    versions: NDArray[np.int64]  # (K,) their numbers, by image
    images: NDArray[np.int64] | slice  # (J,) the images that have one, ascending; a slice for all
    starts: NDArray[np.int64] | None  # (J,) first version of each; none where each has just one

    @classmethod
    def of(cls, versions: NDArray[np.int64], image: NDArray[np.int64], images: int) -> Self:
        """Group versions by image; ``image`` is that of every version, ascending."""
        own, starts = np.unique(image[versions], return_index=True)
        return cls(
            versions,
            slice(images) if len(own) == images else own,
            None if len(starts) == len(versions) else starts,
        )

    def sums(self, values: Float64Array) -> Float64Array:
        """Return the sums over the versions of each image: of (..., K), (..., J)."""
        if self.starts is None:
            return values
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1))


@dataclass(frozen=True, eq=False)
class _VersionEvidence:
    """What each of S = len(VERSION_SCALES) deviations says of the versions of one augmentation.

    They are integrated out, given one likelihood.
    """

    level: _Level
    share: Float64Array  # (S, K) of a version's weight and target that is left to its image
    log_determinant: Float64Array  # (S,)
    weight: Float64Array  # (S, J) that is left, by image

    @classmethod
    def of(cls, level: _Level, weight: Float64Array) -> Self:
        """Integrate the versions out; ``weight`` is theirs, (K,)."""
        inside = 1 + VERSION_SCALES[:, None] ** 2 * weight
        share = 1 / inside
        return cls(level, share, log_product(inside), level.sums(share * weight))

    def given(self, target: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Return the log evidence without the images, (S,), and the target left to them, (S, J)."""
        evidence = VERSION_SCALES**2 * (self.share @ target**2) - self.log_determinant
        return evidence / 2, self.level.sums(self.share * target)


@dataclass(frozen=True, eq=False)
class _Block:
    """The coefficients that the versions of one augmentation have, and their sums."""

    columns: NDArray[np.int64]  # (E,) numbers of the coefficients
    rows: Float64Array  # (K, E)

    @classmethod
    def of(cls, rows: sparse.csr_array, versions: NDArray[np.int64]) -> Self:
        """Cut the versions' rows, without columns of zeros, from those of all versions, (V, D)."""
        own = rows[versions]
        columns = np.unique(own.indices)
        return cls(columns, own[:, columns].toarray())


class NestedEffects:
    """Normal effects of images, and of the versions of each image.

    Args:
        image: (V,) of each version, in 0 .. images - 1, ascending; each has one at least.
        images: their number.
        level: (V,) augmentation of each version; those of one augmentation share a deviation.
        augmentations: their number, A.
        rng: random numbers.
    """

    def __init__(
        self,
        image: NDArray[np.int64],
        images: int,
        level: NDArray[np.int64],
        augmentations: int,
        rng: np.random.Generator,
    ) -> None:
        self._image, self._level, self._rng = image, level, rng
        self._levels = [
            _Level.of(np.flatnonzero(level == n), image, images) for n in range(augmentations)
        ]
        self._starts = np.searchsorted(image, np.arange(images))
        self.effect, self.version_effect = np.zeros(images), np.zeros(len(image))
        self.deviation = float(SCALES[len(SCALES) // 2])
        # (I,) variance of images beyond the deviation: of covariates that are not known.
        self.unexplained = np.zeros(images)
        # Rows of VERSION_SCALES: of the versions that deviate alike, and of each augmentation.
        self._alike_row = len(VERSION_SCALES) // 2
        self._rows = np.full(augmentations, self._alike_row)
        self._alike = np.ones(augmentations, bool)
        # By deviations, of the last likelihood.
        self._integrated: LRUCache[tuple[bytes, bytes], Sums] = LRUCache(CACHED)
        self._likelihood: Likelihood | None = None
        self._blocks: list[_Block] = []
        self._evidence: list[_VersionEvidence] = []

    @property
    def version_deviation(self) -> Float64Array:
        """The current deviation of each augmentation's versions, (A,)."""
        return np.asarray(VERSION_SCALES[self._rows], np.float64)

    @property
    def _variance(self) -> Float64Array:
        """The current variance of each image's effect, (I,)."""
        return np.asarray(self.deviation**2 + self.unexplained)

    @property
    def odds(self) -> Float64Array:
        """The current effects of each version and its image, (V,)."""
        return np.asarray(self.effect[self._image] + self.version_effect)

    def integrate(self, likelihood: Likelihood) -> Sums:
        """Return precision and pull of the coefficients with these effects integrated out."""
        if likelihood is not self._likelihood:
            self._integrated.clear()
            self._likelihood = likelihood
            self._blocks = [_Block.of(likelihood.rows, each.versions) for each in self._levels]
            self._evidence = [
                _VersionEvidence.of(each, likelihood.weight[each.versions]) for each in self._levels
            ]
        key = (self._variance.tobytes(), self.version_deviation.tobytes())
        if key not in self._integrated:
            self._integrated[key] = self._integrate(likelihood)
        return self._integrated[key]

    def _integrate(self, given: Likelihood) -> Sums:
        variance = self.version_deviation[self._level] ** 2
        share = 1 / (1 + variance * given.weight)
        gain, precision, pull = variance * share, given.precision.copy(), given.pull.copy()
        by_image = np.zeros((len(self._starts), len(pull)))
        for level, block in zip(self._levels, self._blocks, strict=True):
            own, columns, rows = level.versions, block.columns, block.rows
            precision[np.ix_(columns, columns)] -= rows.T @ (gain[own, None] * rows)
            pull[columns] -= rows.T @ (gain * given.target)[own]
            sums = level.sums(rows.T * share[own]).T
            if isinstance(level.images, slice):
                by_image[:, columns] += sums
            else:
                by_image[np.ix_(level.images, columns)] += sums
        weight, target = (
            np.add.reduceat(share * each, self._starts) for each in (given.weight, given.target)
        )
        gain = self._variance / (1 + self._variance * weight)
        precision -= by_image.T @ (gain[:, None] * by_image)
        pull -= by_image.T @ (gain * target)
        return precision, pull

    def draw(self, likelihood: Likelihood, coefficients: Float64Array) -> None:
        """Draw the deviations with the effects integrated out, then the effects.

        Args:
            likelihood: of the rows.
            coefficients: (D,).
        """
        weight, target = likelihood.weight, likelihood.target - likelihood.rows @ coefficients
        of_image = self._draw_version_deviations(weight, target)
        variances = SCALES[:, None] ** 2 + self.unexplained
        evidence = log_evidence(variances, *of_image)
        self.deviation = draw_scale(evidence, SCALES, NO_EFFECT, self._rng)
        self.effect = self._draw_effects(self._variance, *of_image)
        rest = target - weight * self.effect[self._image]
        variance = self.version_deviation[self._level] ** 2
        self.version_effect = self._draw_effects(variance, weight, rest)

    def _draw_version_deviations(
        self, weight: Float64Array, target: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Draw the deviation of each augmentation's versions, all effects integrated out.

        Args:
            weight: (V,) of the likelihood.
            target: (V,) likewise, less what coefficients explain.

        Returns:
            Weight and target of each image with its versions integrated out, (I,).
        """
        given = [each.given(target[each.level.versions]) for each in self._evidence]
        share = 1 / (1 + self.version_deviation[self._level] ** 2 * weight)
        sums = tuple(np.add.reduceat(share * each, self._starts) for each in (weight, target))

        total = np.zeros(len(VERSION_SCALES))
        grid = tuple(np.tile(each, (len(VERSION_SCALES), 1)) for each in sums)
        for number in np.flatnonzero(self._alike).tolist():
            own, (evidence, target_left) = self._evidence[number], given[number]
            total += evidence
            for each, part in zip(grid, (own.weight, target_left), strict=True):
                each[:, own.level.images] += part - part[self._rows[number]]
        total += log_evidence(self._variance, *grid)
        self._alike_row = draw_index(
            total + log_prior(VERSION_SCALES, NO_VERSION_EFFECT), self._rng
        )
        self._rows[self._alike] = self._alike_row
        sums = grid[0][self._alike_row], grid[1][self._alike_row]

        own_prior = log_prior(VERSION_SCALES, NO_OWN_EFFECT) + np.log(1 - ALIKE)
        for number, (own, (evidence, target_left)) in enumerate(
            zip(self._evidence, given, strict=True)
        ):
            parts, images = (own.weight, target_left), own.level.images
            rest = [
                each[images] - part[self._rows[number]]
                for each, part in zip(sums, parts, strict=True)
            ]
            of_image = (each + part for each, part in zip(rest, parts, strict=True))
            total = evidence + log_evidence(self._variance[images], *of_image)
            options = np.append(total + own_prior, total[self._alike_row] + np.log(ALIKE))
            row = draw_index(options, self._rng)
            self._alike[number] = row == len(VERSION_SCALES)
            if self._alike[number]:
                row = self._alike_row
            self._rows[number] = row
            for each, before, part in zip(sums, rest, parts, strict=True):
                each[images] = before + part[row]
        return sums

    def _draw_effects(
        self, variance: Float64Array | float, weight: Float64Array, target: Float64Array
    ) -> Float64Array:
        left = variance / (1 + variance * weight)
        noise = self._rng.normal(size=len(weight))
        return np.asarray(left * target + np.sqrt(left) * noise)
