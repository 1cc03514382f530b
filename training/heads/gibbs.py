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

from dataclasses import dataclass
from typing import Self

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cholesky, eigh, solve_triangular
from scipy.special import expit, gammaln

from augrank.arrays import Float32Array, Float64Array
from training.heads.design import Design, History

# The deviations that a group's effects, and those of images and versions, may have, in log odds:
# the first is next to no effect.
SCALES = 0.01 * 2.0 ** (np.arange(49) / 6)
VERSION_SCALES = SCALES[::3]
# Prior probabilities of the first: for a group of effects or the images, and for the versions,
# whose effects are rare.
NO_EFFECT, NO_VERSION_EFFECT = 0.4, 0.8
# Prior probability that an augmentation's versions deviate as those of the others; else they have a
# deviation of their own, which is mostly none.
ALIKE, NO_OWN_EFFECT = 0.8, 0.9
TAILS = np.array([1.0, 3.0, 30.0])  # degrees of freedom of a group: few and large, or many alike
INTERCEPT_DEVIATION = 3.0  # around the log odds of all outcomes
# Means and deviations of the priors of the slopes: of the image's score, of the versions' scores by
# augmentation, and of the mean of the versions' scores.
IMAGE_SLOPE, VERSION_SLOPE, MEAN_SLOPE = (1.0, 1.0), (0.0, 0.5), (0.0, 0.5)
ROUNDS, ROUND_SWEEPS = 8, 10  # after each round, the likelihood is approximated anew
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(9)  # of the standard normal distribution
WEIGHTS = WEIGHTS / WEIGHTS.sum()
MAX_STEP, MAX_SPREAD = 1.5, 2.0  # of a row's log odds from one round to the next, and in one
CACHED = 64  # sets of deviations
Sums = tuple[Float64Array, Float64Array]  # precision (D, D) and pull (D,)


@dataclass(frozen=True)
class Counts:
    """Distinct rows of a history, with counts of their outcomes: arrays (R,), by version."""

    level: NDArray[np.int64]
    context: NDArray[np.int64]
    version: NDArray[np.int64]  # in 0 .. V - 1, ascending
    image: NDArray[np.int64]  # (V,) of each version, in 0 .. I - 1
    embedding: NDArray[np.int64]  # (V,) of each version
    version_level: NDArray[np.int64]  # (V,) augmentation of each version
    # (R, A + 2): image score, version score by augmentation, mean of the image's version scores.
    scores: Float64Array
    successes: Float64Array
    trials: Float64Array  # positive

    @classmethod
    def of(cls, history: History, image: NDArray[np.int64], augmentations: int) -> Self:
        """Merge rows of the same embedding, augmentation and context.

        Args:
            history: outcomes with weight.
            image: (R,) of each outcome, in 0 .. I - 1.
            augmentations: their number, A.
        """
        keys = np.stack([image, history.embedding, history.level, history.context])
        _, first, row = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        owner = np.stack([image[first], history.embedding[first]])
        (of_version, embedding), version = np.unique(owner, axis=1, return_inverse=True)
        order = np.argsort(version, kind="stable")
        kept = first[order]
        level = history.level[kept]
        by_level = history.version_score[kept, None] * (level[:, None] == np.arange(augmentations))
        return cls(
            level,
            history.context[kept],
            version[order],
            of_version,
            embedding,
            level[np.unique(version[order], return_index=True)[1]],
            np.column_stack([history.image_score[kept], by_level, history.version_mean[kept]]),
            np.bincount(row, history.label * history.weight)[order].astype(np.float64),
            np.bincount(row, history.weight)[order].astype(np.float64),
        )


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
        self.nested.draw(self._likelihood, self.coefficients)

    def _odds(self) -> Float64Array:
        """Return the current log odds of the rows, (R,)."""
        counts, effects, slopes = self.counts, *np.split(self.coefficients, [self.effects])
        fixed = self._cells(effects) + counts.scores @ slopes
        return np.asarray(fixed + self.nested.odds[counts.version])

    def _approximate(self, deviation: Float64Array) -> "Likelihood":
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


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Sums over R rows with a normal likelihood: ``target * log odds - omega / 2 * log odds^2``."""

    precision: Float64Array  # (D, D) of the coefficients
    pull: Float64Array  # (D,)
    rows: sparse.csr_array  # (V, D) sums of omega times the coefficients' rows, by version
    weight: Float64Array  # (V,) sums of omega
    target: Float64Array  # (V,) sums of target

    @classmethod
    def of(
        cls,
        counts: Counts,
        cells: sparse.csr_array,
        cell: NDArray[np.int64],
        omega: Float64Array,
        target: Float64Array,
    ) -> Self:
        """Sum.

        Args:
            counts: the rows.
            cells: (K, E) rows of the design matrix.
            cell: (R,) of each row.
            omega: (R,).
            target: (R,).
        """
        scores, (count, size) = counts.scores, cells.shape
        versions = len(counts.image)
        starts = np.searchsorted(counts.version, np.arange(versions + 1))
        by_cell = sparse.diags_array(np.bincount(cell, omega, count)) @ cells
        precision = np.empty((size + scores.shape[1], size + scores.shape[1]))
        precision[:size, :size] = (cells.T @ by_cell).toarray()
        for number, score in enumerate(scores.T, start=size):
            cross = cells.T @ np.bincount(cell, omega * score, count)
            precision[number, :size] = precision[:size, number] = cross
        precision[size:, size:] = scores.T @ (omega[:, None] * scores)
        by_version = sparse.csr_array((omega, cell, starts), shape=(versions, count)) @ cells
        of_scores = np.add.reduceat(omega[:, None] * scores, starts[:-1], axis=0)
        return cls(
            precision,
            np.append(cells.T @ np.bincount(cell, target, count), scores.T @ target),
            sparse.csr_array(sparse.hstack([by_version, sparse.csr_array(of_scores)])),
            np.add.reduceat(omega, starts[:-1]),
            np.add.reduceat(target, starts[:-1]),
        )


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
        self._scale = _draw_scale(evidence, SCALES, NO_EFFECT, self._rng)
        used = varied if self._scale > SCALES[0] else self._alike
        coefficients[own] = used.draw(rest, self._scale, self._rng)

    def draw_tail(self, coefficients: Float64Array) -> None:
        """Draw the degrees of freedom, and the local variances of the t distribution."""
        active = self._scale > SCALES[0]
        square = (coefficients / self._scale) ** 2 * active
        half = (TAILS[:, None] + 1) / 2
        density = gammaln(half) - gammaln(TAILS[:, None] / 2) - np.log(TAILS[:, None]) / 2
        density = density - half * np.log1p(square / TAILS[:, None])
        tail = TAILS[_draw_index(density.sum(axis=1) * active, self._rng)]
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
        evidence = _log_evidence(variances, self._values, self._along(pull))
        return np.asarray(evidence.sum(axis=1), np.float64)

    def draw(self, pull: Float64Array, scale: float, rng: np.random.Generator) -> Float64Array:
        """Draw the coefficients, (K,)."""
        variance = scale**2 / (1 + scale**2 * self._values)
        noise = np.sqrt(variance) * rng.normal(size=len(variance))
        drawn = self._vectors @ (variance * self._along(pull) + noise)
        return np.asarray(self._root * drawn, np.float64)

    def _along(self, pull: Float64Array) -> Float64Array:
        return np.asarray(self._vectors.T @ (self._root * pull), np.float64)


@dataclass(frozen=True, eq=False)
class _Level:
    """The versions of one augmentation."""

    versions: NDArray[np.int64]  # (K,) their numbers, by image
    images: NDArray[np.int64]  # (J,) the images that have one, ascending
    starts: NDArray[np.int64]  # (J,) first version of each

    @classmethod
    def of(cls, versions: NDArray[np.int64], image: NDArray[np.int64]) -> Self:
        """Group versions by image; ``image`` is that of every version, ascending."""
        return cls(versions, *np.unique(image[versions], return_index=True))

    def sums(self, values: Float64Array) -> Float64Array:
        """Return the sums over the versions of each image: of (K, ...), (J, ...)."""
        if not len(self.starts):
            return values
        return np.asarray(np.add.reduceat(values, self.starts, axis=0))


@dataclass(frozen=True, eq=False)
class _VersionEvidence:
    """What each of S = len(VERSION_SCALES) deviations says of the versions of one augmentation."""

    of_versions: Float64Array  # (S,) log evidence without the images
    sums: tuple[Float64Array, Float64Array]  # weight and target by image, (S, J) each

    @classmethod
    def of(cls, level: _Level, weight: Float64Array, target: Float64Array) -> Self:
        """Integrate the versions out; ``weight`` and ``target`` are theirs, (K,)."""
        variances = VERSION_SCALES[:, None] ** 2
        share = 1 / (1 + variances * weight)
        evidence = _log_evidence(variances, weight, target).sum(axis=1)
        return cls(evidence, (level.sums((share * weight).T).T, level.sums((share * target).T).T))


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
        self._levels = [_Level.of(np.flatnonzero(level == n), image) for n in range(augmentations)]
        self._starts = np.searchsorted(image, np.arange(images))
        self.effect, self.version_effect = np.zeros(images), np.zeros(len(image))
        self.deviation = float(SCALES[len(SCALES) // 2])
        # Rows of VERSION_SCALES: of the versions that deviate alike, and of each augmentation.
        self._alike_row = len(VERSION_SCALES) // 2
        self._rows = np.full(augmentations, self._alike_row)
        self._alike = np.ones(augmentations, bool)
        # By deviations, of the last likelihood.
        self._integrated: LRUCache[tuple[float, bytes], Sums] = LRUCache(CACHED)
        self._likelihood: Likelihood | None = None
        self._blocks: list[_Block] = []

    @property
    def version_deviation(self) -> Float64Array:
        """The current deviation of each augmentation's versions, (A,)."""
        return np.asarray(VERSION_SCALES[self._rows], np.float64)

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
        key = (self.deviation, self.version_deviation.tobytes())
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
            by_image[np.ix_(level.images, columns)] += level.sums(share[own, None] * rows)
        weight, target = (
            np.add.reduceat(share * each, self._starts) for each in (given.weight, given.target)
        )
        gain = self.deviation**2 / (1 + self.deviation**2 * weight)
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
        evidence = _log_evidence(SCALES[:, None] ** 2, *of_image).sum(axis=1)
        self.deviation = _draw_scale(evidence, SCALES, NO_EFFECT, self._rng)
        self.effect = self._draw_effects(self.deviation**2, *of_image)
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
        evidence = [
            _VersionEvidence.of(each, weight[each.versions], target[each.versions])
            for each in self._levels
        ]
        share = 1 / (1 + self.version_deviation[self._level] ** 2 * weight)
        sums = tuple(np.add.reduceat(share * each, self._starts) for each in (weight, target))

        total = np.zeros(len(VERSION_SCALES))
        grid = tuple(np.tile(each, (len(VERSION_SCALES), 1)) for each in sums)
        for number in np.flatnonzero(self._alike).tolist():
            level, found = self._levels[number], evidence[number]
            total += found.of_versions
            for each, part in zip(grid, found.sums, strict=True):
                each[:, level.images] += part - part[self._rows[number]]
        total += _log_evidence(self.deviation**2, *grid).sum(axis=1)
        self._alike_row = _draw_index(
            total + _log_prior(VERSION_SCALES, NO_VERSION_EFFECT), self._rng
        )
        self._rows[self._alike] = self._alike_row
        sums = grid[0][self._alike_row], grid[1][self._alike_row]

        own_prior = _log_prior(VERSION_SCALES, NO_OWN_EFFECT) + np.log(1 - ALIKE)
        for number, (level, found) in enumerate(zip(self._levels, evidence, strict=True)):
            rest = [
                each[level.images] - part[self._rows[number]]
                for each, part in zip(sums, found.sums, strict=True)
            ]
            of_image = (each + part for each, part in zip(rest, found.sums, strict=True))
            total = found.of_versions + _log_evidence(self.deviation**2, *of_image).sum(axis=1)
            options = np.append(total + own_prior, total[self._alike_row] + np.log(ALIKE))
            row = _draw_index(options, self._rng)
            self._alike[number] = row == len(VERSION_SCALES)
            if self._alike[number]:
                row = self._alike_row
            self._rows[number] = row
            for each, before, part in zip(sums, rest, found.sums, strict=True):
                each[level.images] = before + part[row]
        return sums

    def _draw_effects(
        self, variance: Float64Array | float, weight: Float64Array, target: Float64Array
    ) -> Float64Array:
        left = variance / (1 + variance * weight)
        noise = self._rng.normal(size=len(weight))
        return np.asarray(left * target + np.sqrt(left) * noise)


def _log_evidence(
    variance: Float64Array | float, precision: Float64Array, pull: Float64Array
) -> Float64Array:
    """Return the log likelihood ratio of normal effects of a variance to none.

    Args:
        variance: a number, or (S, 1).
        precision: (K,) or (S, K), of the likelihood of each effect.
        pull: likewise.
    """
    inside = 1 + variance * precision
    return np.asarray((variance * pull**2 / inside - np.log(inside)) / 2)


def _draw_scale(
    log_likelihood: Float64Array,
    scales: Float64Array,
    no_effect: float,
    rng: np.random.Generator,
) -> float:
    return float(scales[_draw_index(log_likelihood + _log_prior(scales, no_effect), rng)])


def _log_prior(scales: Float64Array, no_effect: float) -> Float64Array:
    """Return the log prior of scales: of the first ``no_effect``, of the others alike."""
    prior = np.full(len(scales), np.log((1 - no_effect) / (len(scales) - 1)))
    prior[0] = np.log(no_effect)
    return prior


def _draw_index(log_weight: Float64Array, rng: np.random.Generator) -> int:
    """Draw a number with probabilities proportional to exp(log_weight): the Gumbel-max trick."""
    return int(np.argmax(log_weight + rng.gumbel(size=len(log_weight))))
