"""The images that the backbone classifies, and their channel statistics."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.images.augmentations import AugmentationSet
from training.data.image_cache.store import Pixels
from training.distributed.world import World

STATISTICS_SAMPLES = 12_000
NOT_LABELLED = -1
MAX_RUN = 8  # samples of one owner that come side by side in training
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Samples:
    """Images to classify: (file, augmentation to apply, label)."""

    file: NDArray[np.int64]  # (N,) number of the file
    applied: NDArray[np.int64]  # (N,) augmentation to apply; 0, the original, leaves the file as is
    # (N,) class of the image, or (N, Q) of each question about it; NOT_LABELLED where unknown.
    label: NDArray[np.int64]
    mirrored: NDArray[np.bool_] | None = None  # (N,) which may be mirrored; None: all
    # (N,) those of one number are compared with each other, so they come side by side; a batch's
    # end may divide them. None: none are compared.
    owner: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Samples":
        mirrored = None if self.mirrored is None else self.mirrored[rows]
        owner = None if self.owner is None else self.owner[rows]
        return Samples(self.file[rows], self.applied[rows], self.label[rows], mirrored, owner)

    def by_owner(self) -> "Samples":
        """Return the samples with those of an owner side by side."""
        if self.owner is None:
            return self
        return self[np.argsort(self.owner, kind="stable")]

    def shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows in random order, (N,); those of an owner side by side.

        An owner of very many comes in several runs: a batch should not be of one alone.
        """
        order = rng.permutation(len(self))
        if self.owner is None:
            return order
        order = order[np.argsort(self.owner[order], kind="stable")]
        _, start, size = np.unique(self.owner[order], return_index=True, return_counts=True)
        place = np.arange(len(order)) - np.repeat(start, size)
        runs = -(-size // MAX_RUN)
        run = place * np.repeat(runs, size) // np.repeat(size, size)  # of even size
        run += np.repeat(np.cumsum(runs) - runs, size)
        turn = rng.permutation(int(runs.sum()))
        return np.asarray(order[np.argsort(turn[run], kind="stable")])


@dataclass(frozen=True)
class ChannelMoments:
    """Sums over the pixels of images, for mean and deviation; those of two sets can be added."""

    count: float  # of pixels
    total: Float64Array  # (3,) sums of the values, 0..255
    squares: Float64Array  # (3,) sums of their squares

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> "ChannelMoments":
        """Compute the sums of one image, uint8 (S, S, 3)."""
        mean, deviation = cv2.meanStdDev(image)
        count = image.shape[0] * image.shape[1]
        squares = deviation[:, 0] ** 2 + mean[:, 0] ** 2
        return cls(count, count * mean[:, 0], count * squares)

    def __add__(self, other: "ChannelMoments") -> "ChannelMoments":
        return ChannelMoments(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def mean_and_deviation(self) -> tuple[Channels, Channels]:
        """Return mean and deviation of each channel, 0..1, rounded to the six printed digits."""
        mean = self.total / self.count
        deviation = np.sqrt(np.maximum(self.squares / self.count - mean**2, 1.0))
        return _rounded(mean), _rounded(deviation)


NO_PIXELS = ChannelMoments(0, np.zeros(3), np.zeros(3))


def channel_statistics(
    pixels: Pixels | NDArray[np.uint8],
    augmentations: AugmentationSet,
    samples: Samples,
    *,
    threads: int,
    world: World = World(),
) -> tuple[Channels, Channels]:
    """Return mean and standard deviation of each channel, 0..1, over augmented training images.

    The images are divided among the processes. From a large set, at most STATISTICS_SAMPLES images
    are sampled, always the same.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(samples))[:STATISTICS_SAMPLES])

    def moments(row: int) -> ChannelMoments:
        augmentation = augmentations.augmentations[samples.applied[row]]
        return ChannelMoments.of(augmentation.apply(pixels[samples.file[row]]))

    with ThreadPoolExecutor(threads) as pool:
        seen = sum(pool.map(moments, rows[world.shard(len(rows))].tolist()), NO_PIXELS)
    count, *sums = world.all_reduce_sum(seen.count, *seen.total, *seen.squares)
    return ChannelMoments(count, np.array(sums[:3]), np.array(sums[3:])).mean_and_deviation()


def _rounded(values: Float64Array) -> Channels:
    red, green, blue = (round(float(value) / 255, 6) for value in values)
    return red, green, blue
