"""Pairs of images, of which one has the higher score, and how often a ranking tells which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from training.common.metrics import clustered_share_interval

PARTNERS = 16  # of an image, at most, on each side
MAX_PAIRS = 400_000  # more are sampled: they would not make figures more precise
BOOTSTRAPS, BOOTSTRAP_SEED = 500, 0


@dataclass(frozen=True)
class Pairs:
    """Pairs of images whose scores differ."""

    higher: NDArray[np.int64]  # (P,) place of the image with the higher score
    lower: NDArray[np.int64]  # (P,)

    def __len__(self) -> int:
        return len(self.higher)

    def correct(self, score: Float64Array) -> Float64Array:
        """Return 1 where scores (N,) tell the higher image, 0 where not, .5 if they tie, (P,)."""
        return np.asarray((np.sign(self.margin(score)) + 1) / 2)

    def loss(self, score: Float64Array) -> Float64Array:
        """Return the log loss of each pair, (P,), if differences of scores are log odds."""
        return np.asarray(np.logaddexp(0, -self.margin(score)))

    def margin(self, score: Float64Array) -> Float64Array:
        """Return by how much the higher image's score exceeds the lower one's, (P,)."""
        return np.asarray(score[self.higher] - score[self.lower], np.float64)

    def weight(self) -> Float64Array:
        """Return weights, (P,), by which every image counts the same as an end of its pairs.

        Otherwise those of few uploaders with many images would decide all figures.
        """
        times = np.bincount(np.concatenate([self.higher, self.lower]))
        return np.asarray((1 / times[self.higher] + 1 / times[self.lower]) / 2)

    def mean(self, values: Float64Array) -> float:
        """Return the mean of values (P,), such as ``correct``, in which every image counts."""
        return float(np.average(values, weights=self.weight()))

    def mean_by_image(self, values: Float64Array, count: int) -> Float64Array:
        """Return the mean of values (P,) over the pairs of each image, (count,); NaN for none."""
        ends = np.concatenate([self.higher, self.lower])
        total = np.bincount(ends, np.concatenate([values, values]), count)
        times = np.bincount(ends, minlength=count)
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)


def draw_pairs(
    score: Float64Array, owner: NDArray[np.int64], seed: int, partners: int = PARTNERS
) -> Pairs:
    """Pair images of the same owner: all pairs of a few images, a sample of many.

    The images of an owner are put in a circle in random order; each is paired with the next
    ``partners`` of them.

    Args:
        score: (N,), NaN where unknown.
        owner: (N,) whose images are compared.
        seed: of the order.
        partners: at most, of an image on each side.
    """
    known = np.flatnonzero(np.isfinite(score))
    partners = min(partners, max(1, MAX_PAIRS // max(len(known), 1)))
    shuffled = np.random.default_rng(seed).permutation(known)
    order = shuffled[np.argsort(owner[shuffled], kind="stable")]
    _, start, size = np.unique(owner[order], return_index=True, return_counts=True)
    start, size = np.repeat(start, size), np.repeat(size, size)
    place = np.arange(len(order)) - start
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for step in range(1, partners + 1):
        # Half way round, an image and its partner are each other's.
        paired = (2 * step < size) | ((2 * step == size) & (place < step))
        partner = start + (place + step) % size
        left.append(order[paired])
        right.append(order[partner[paired]])
    one, other = np.concatenate(left), np.concatenate(right)
    differ = score[one] != score[other]
    one, other = one[differ], other[differ]
    above = score[one] > score[other]
    return Pairs(np.where(above, one, other), np.where(above, other, one))


@dataclass(frozen=True)
class RankFigures:
    """How often a ranking is right; the interval is of 95 %, by bootstrap of groups of images."""

    images: int
    pairs: int
    # Share of pairs of which it tells the higher image; ties count half, and images all the same.
    pair_accuracy: float
    pair_accuracy_interval_95: tuple[float, float]
    log_loss: float  # of pairs, in nats; that of guessing is .693
    # Of as many right pairs by chance: exact binomial test of pairs that share no group.
    p_value: float


def ranking_figures(score: Float64Array, pairs: Pairs, group: NDArray[np.int64]) -> RankFigures:
    """Compute figures.

    Args:
        score: (N,) of each image, by the ranking; differences are log odds.
        pairs: of these images.
        group: (N,); images of one group are not independent.
    """
    from scipy.stats import binomtest

    correct = pairs.correct(score)
    alone = correct[_disjoint(pairs, group)]
    alone = alone[alone != 0.5]
    test = binomtest(int(alone.sum()), len(alone), alternative="greater") if len(alone) else None
    return RankFigures(
        images=len(np.union1d(pairs.higher, pairs.lower)),
        pairs=len(pairs),
        pair_accuracy=pairs.mean(correct),
        pair_accuracy_interval_95=_interval(correct, pairs, group),
        log_loss=pairs.mean(pairs.loss(score)),
        p_value=float(test.pvalue) if test else 1.0,
    )


def _interval(correct: Float64Array, pairs: Pairs, group: NDArray[np.int64]) -> tuple[float, float]:
    """Return the interval of the share of correct pairs: groups are drawn with their images.

    A pair of two groups is drawn as often as both are together, one inside a group as often as it.
    """
    ends = np.concatenate([pairs.higher, pairs.lower])
    shown = np.unique(group[ends])  # groups that have a pair
    one, other = (np.searchsorted(shown, group[each]) for each in (pairs.higher, pairs.lower))
    weight, groups, inside = pairs.weight(), len(shown), one == other
    rng, found = np.random.default_rng(BOOTSTRAP_SEED), []
    for _ in range(BOOTSTRAPS):
        times = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        drawn = weight * times[one] * np.where(inside, 1, times[other])
        if drawn.any():
            found.append(float(np.average(correct, weights=drawn)))
    both = np.concatenate([one, other])
    of_group = np.bincount(both, np.concatenate([weight, weight])).astype(np.float64)
    variance = float(np.var(found)) if found else 0.0
    return clustered_share_interval(pairs.mean(correct), variance, of_group, len(pairs))


def _disjoint(pairs: Pairs, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return places of pairs no two of which have images of the same group, the first ones."""
    chosen, used = [], set[int]()
    ends = zip(group[pairs.higher].tolist(), group[pairs.lower].tolist(), strict=True)
    for place, (one, other) in enumerate(ends):
        if one not in used and other not in used:
            chosen.append(place)
            used |= {one, other}
    return np.array(chosen, np.int64)
