"""What the backbone sees: shuffled, jittered, augmented batches, made ahead by threads."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.augmentations import AugmentationSet
from augrank.decode import WHITE, Picture
from augrank.preprocess import Normalizer
from training.distributed import Team
from training.picture_store import Pixels

SHIFT, ZOOM = 0.025, 0.05  # jitter, shares of the side and of the scale
FLIPPING = ("flip", "transpose", "d4", "rot90", "rotate90")
STATISTICS_SAMPLES = 12_000


@dataclass(frozen=True)
class Samples:
    """Pictures to tell apart: (file, augmentation to apply, label)."""

    file: NDArray[np.int64]  # (N,) row of the pixels
    applied: NDArray[np.int64]  # (N,) augmentation to apply; 0, the original, leaves the file as is
    label: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Samples":
        return Samples(self.file[rows], self.applied[rows], self.label[rows])


@dataclass(frozen=True)
class Jitter:
    """Small changes that leave labels true, drawn for each sample by (seed, epoch, number)."""

    seed: int
    flip: bool

    def __call__(self, picture: Picture, epoch: int, number: int, *, flip: bool) -> Picture:
        """Shift, zoom and perhaps flip uint8 (S, S, 3), on white."""
        rng = np.random.default_rng((self.seed, epoch, number))
        side = picture.shape[0]
        zoom = 1 + rng.uniform(-ZOOM, ZOOM)
        shift = rng.uniform(-SHIFT, SHIFT, 2) * side + (1 - zoom) * (side - 1) / 2
        matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
        if self.flip and flip and rng.random() < 0.5:
            matrix[0] = [-zoom, 0, side - 1 - shift[0]]
        moved = cv2.warpAffine(
            picture,
            matrix,
            (side, side),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(WHITE, WHITE, WHITE),
        )
        return moved.astype(np.uint8, copy=False)


class TrainingBatch(NamedTuple):
    """A process's share of a batch."""

    pictures: NDArray[np.float32]  # (B, S, S, 3), normalised
    label: NDArray[np.int64]  # (B,)
    weight: float  # of its mean loss, so that the mean over processes is the whole batch's


def may_flip(augmentations: AugmentationSet) -> bool:
    """Whether a mirrored original cannot be mistaken for one of the augmentations."""
    operations = [step.op.lower() for item in augmentations.augmentations for step in item.steps]
    return not any(word in operation for operation in operations for word in FLIPPING)


class Batches:
    """Makes batches of normalised pictures.

    Args:
        pixels: uint8 (files, S, S, 3), by file.
        augmentations: the set.
        normalizer: of the runtime.
        batch_size: samples in a batch, of all processes together.
        threads: batches made at a time.
        team: the processes that share each training batch.
    """

    def __init__(
        self,
        pixels: Pixels | NDArray[np.uint8],
        augmentations: AugmentationSet,
        normalizer: Normalizer,
        *,
        batch_size: int,
        threads: int,
        team: Team = Team(),
    ) -> None:
        self._pixels, self._augmentations = pixels, augmentations.augmentations
        self._normalizer, self._batch_size, self._threads = normalizer, batch_size, threads
        self._team = team

    def in_order(self, samples: Samples) -> Iterator[NDArray[np.float32]]:
        """Every sample once, as served: float32 (B, S, S, 3), normalised."""
        yield from self._ahead(samples, self._parts(np.arange(len(samples))), None, 0)

    def shuffled(self, samples: Samples, jitter: Jitter, epoch: int) -> Iterator[TrainingBatch]:
        """Every sample once, in an order drawn for the epoch, with its label.

        The order is that of one process whatever the team's size; each makes its share of every
        batch. The last batch is filled up to two samples a process at least, which batch
        normalisation needs.
        """
        team, size = self._team, self._batch_size
        order = np.random.default_rng((jitter.seed, epoch)).permutation(len(samples))
        last, least = len(order) % size, 2 * team.size
        if 0 < last < least:
            order = np.append(order, np.resize(order, least - last))
        whole = self._parts(order)
        own = [rows[team.rank :: team.size] for rows in whole]
        made = self._ahead(samples, own, jitter, epoch)
        for rows, of, pictures in zip(own, whole, made, strict=True):
            yield TrainingBatch(pictures, samples.label[rows], len(rows) * team.size / len(of))

    def _parts(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [
            order[start : start + self._batch_size]
            for start in range(0, len(order), self._batch_size)
        ]

    def _ahead(
        self, samples: Samples, parts: list[NDArray[np.int64]], jitter: Jitter | None, epoch: int
    ) -> Iterator[NDArray[np.float32]]:
        """Batches in order, made by threads while the consumer works on an earlier one."""
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[NDArray[np.float32]]] = deque()
            try:
                for rows in parts:
                    waiting.append(pool.submit(self._make, samples, rows, jitter, epoch))
                    if len(waiting) > self._threads + 1:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _make(
        self, samples: Samples, rows: NDArray[np.int64], jitter: Jitter | None, epoch: int
    ) -> NDArray[np.float32]:
        side = self._pixels[0].shape[0]
        out = np.empty((len(rows), side, side, 3), np.float32)
        for place, row in enumerate(rows):
            picture, applied = self._pixels[samples.file[row]], samples.applied[row]
            if jitter is not None:
                # A file that was changed elsewhere must not be mirrored after the change.
                picture = jitter(picture, epoch, int(row), flip=applied == samples.label[row])
            picture = self._augmentations[applied].apply(picture)
            self._normalizer.into_channels_last(picture, out[place])
        return out


Channels = tuple[float, float, float]


def channel_statistics(
    pixels: Pixels | NDArray[np.uint8],
    augmentations: AugmentationSet,
    samples: Samples,
    *,
    threads: int,
) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel, 0..1, over augmented training pictures.

    Of large sets, evenly spaced samples are taken. Rounded to six digits, so that what is printed
    is what is used.
    """
    rows = np.unique(np.linspace(0, len(samples) - 1, STATISTICS_SAMPLES).astype(np.int64))

    def moments(row: int) -> NDArray[np.float64]:
        augmentation = augmentations.augmentations[samples.applied[row]]
        picture = augmentation.apply(pixels[samples.file[row]])
        mean, deviation = cv2.meanStdDev(picture)
        return np.stack([mean[:, 0], deviation[:, 0] ** 2 + mean[:, 0] ** 2])

    with ThreadPoolExecutor(threads) as pool:
        means, squares = np.mean(list(pool.map(moments, rows.tolist())), axis=0)
    deviations = np.sqrt(np.maximum(squares - means**2, 1.0))
    return _rounded(means), _rounded(deviations)


def _rounded(values: NDArray[np.float64]) -> Channels:
    red, green, blue = (round(float(value) / 255, 6) for value in values)
    return red, green, blue
