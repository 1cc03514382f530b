"""Batches of images for the network, made ahead by threads.

    pixels ── threads: window, augmentation, normalised ──────────────── tensor    any device
    pixels ── threads: copied ── GPU: window, augmentation, normalised ─ tensor    training on a GPU

What is measured, and what heads learn from, always goes the first way, which is that of serving.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augrank.images.augmentations import AugmentationSet
from augrank.images.preprocess import Normalizer
from training.backbone.batch_memory import BatchMemory
from training.backbone.crops import Jitter, Windows, look, no_jitter
from training.backbone.gpu_augment import BatchAugmentations
from training.common.context import TrainContext
from training.common.prefetch import Waited, ahead
from training.data.image_cache.store import Pixels
from training.data.samples import Samples

EVALUATION_BATCH = 128  # at most: no gradients fill up the device, and smaller ones make it idle
# Of a batch on a CPU, whose caches then hold what goes from layer to layer: a fifth faster.
CACHED_PIXELS, LEAST_EVALUATION_BATCH = 800_000, 8
Rows = NDArray[np.int64]
Made = TypeVar("Made")


class TrainingBatch(NamedTuple):
    """A part of a batch: a process's share, or a piece of that."""

    images: Tensor  # float32 (B, 3, S, S), channels-last, normalised, on the device
    label: Tensor  # int64 (B,), on the device
    weight: float  # of its mean loss, so that the mean over processes is the whole batch's
    completes: bool  # whether the optimiser steps after it
    waited_s: float = 0.0  # for it to be made


@dataclass(frozen=True)
class ImageSet:
    """Decoded images, and how they are augmented and normalised.

    Attributes:
        pixels: uint8 (files, S, S, 3), RGB, by file.
        augmentations: the set that samples refer to.
        normalizer: the runtime's.
    """

    pixels: Pixels | NDArray[np.uint8]
    augmentations: AugmentationSet
    normalizer: Normalizer


class BatchLoader:
    """Makes batches of normalised images.

    Args:
        images: the source.
        ctx: the device that batches go to, and the processes that share each training batch.
        batch_size: samples in a batch, over all processes.
        threads: number of batches that are made at a time.
        augment_on_device: whether the device augments training batches; by default a GPU does if
            it supports every augmentation of the set.
    """

    def __init__(
        self,
        images: ImageSet,
        ctx: TrainContext,
        *,
        batch_size: int,
        threads: int,
        augment_on_device: bool | None = None,
    ) -> None:
        pixels, augmentations, normalizer = images.pixels, images.augmentations, images.normalizer
        device, on_device = ctx.device, augment_on_device
        self._pixels, self._augmentations = pixels, augmentations.augmentations
        self._normalizer, self._device, self._world = normalizer, device, ctx.world
        self._memory = BatchMemory(pinned=device.is_cuda)
        self._batch_size, self._threads = batch_size, threads
        self._side = int(pixels[0].shape[0])
        if on_device is None:
            on_device = device.is_cuda and BatchAugmentations.supports_all(augmentations)
        self._on_device = (
            BatchAugmentations(augmentations, normalizer, device.torch_device)
            if on_device
            else None
        )
        self._beside: torch.cuda.Stream | None = None  # batches are sent beside what is computed
        if device.is_cuda:
            self._beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # the tables above are there

    def in_order(self, samples: Samples) -> Iterator[Tensor]:
        """Every sample once, as served: float32 (B, 3, S, S), channels-last, normalised.

        However large a batch the optimiser steps after, these are as large as suits the device.
        """
        windows = no_jitter(len(samples), self._side)

        def make(rows: Rows) -> NDArray[np.float32]:
            return self._make(samples, rows, windows, self._side)

        parts = _slices(np.arange(len(samples)), self._evaluation_batch())
        yield from self._sent(ahead(make, parts, self._threads), self._channels_first)

    def shuffled(
        self, samples: Samples, jitter: Jitter, epoch: int, *, size: int | None = None,
        pieces: int = 1,
    ) -> Iterator[TrainingBatch]:  # fmt: skip
        """Every sample once, jittered, in an order drawn for the epoch.

        The order is that of one process whatever the number of processes; each makes its shard of
        every batch. The last batch is filled up to two samples a piece, which batch normalisation
        needs.

        Args:
            samples: to show.
            jitter: draws a window for each.
            epoch: another one has another order and other windows.
            size: side of the images; by default as they are.
            pieces: that a process's share of a batch comes in.
        """
        world, size = self._world, size or self._side
        parts, least = world.size * pieces, 2 * world.size * pieces
        order = np.random.default_rng((jitter.seed, epoch)).permutation(len(samples))
        last = len(order) % self._batch_size
        if 0 < last < least:
            order = np.append(order, np.resize(order, least - last))
        whole = [part for part in _slices(order, self._batch_size) for _ in range(pieces)]
        own = [
            part[place % pieces * world.size + world.rank :: parts]
            for place, part in enumerate(whole)
        ]
        windows = jitter.windows(epoch, len(samples), self._side)
        # A file that was changed elsewhere must not be mirrored after the change.
        windows[:, 4] &= samples.applied == samples.label
        waited, before = Waited(), 0.0
        make = self._made_here if self._on_device is None else self._made_on_device
        made = make(samples, own, windows, size, waited)
        for place, (rows, of, images) in enumerate(zip(own, whole, made, strict=True)):
            yield TrainingBatch(
                images,
                self._device.tensor(samples.label[rows]),
                len(rows) * world.size / len(of),
                completes=place % pieces == pieces - 1,
                waited_s=waited.seconds - before,
            )
            before = waited.seconds

    def _evaluation_batch(self) -> int:
        suits = EVALUATION_BATCH
        if not self._device.is_cuda:
            suits = min(suits, max(LEAST_EVALUATION_BATCH, CACHED_PIXELS // self._side**2))
        return min(self._batch_size, suits)

    # --- made by threads --------------------------------------------------------------------------

    def _made_here(
        self, samples: Samples, parts: list[Rows], windows: Windows, size: int, waited: Waited
    ) -> Iterator[Tensor]:
        def make(rows: Rows) -> NDArray[np.float32]:
            return self._make(samples, rows, windows, size)

        return self._sent(ahead(make, parts, self._threads, waited), self._channels_first)

    def _make(
        self, samples: Samples, rows: Rows, windows: Windows, size: int
    ) -> NDArray[np.float32]:
        """float32 (B, S, S, 3)."""
        out = self._memory.take((len(rows), size, size, 3), np.float32)
        for place, row in enumerate(rows):
            image = look(self._pixels[samples.file[row]], windows[row], size)
            image = self._augmentations[samples.applied[row]].apply(image)
            self._normalizer.into_channels_last(image, out[place])
        return out

    def _channels_first(self, batch: NDArray[np.float32]) -> Tensor:
        return self._device.tensor(batch).permute(0, 3, 1, 2)

    # --- made on the device -----------------------------------------------------------------------

    def _made_on_device(
        self, samples: Samples, parts: list[Rows], windows: Windows, size: int, waited: Waited
    ) -> Iterator[Tensor]:
        augment = self._on_device
        assert augment is not None

        def copied(rows: Rows) -> tuple[NDArray[np.uint8], Rows]:
            shape = (len(rows), self._side, self._side, 3)
            out = self._memory.take(shape, np.uint8)
            for place, file in enumerate(samples.file[rows]):
                out[place] = self._pixels[file]
            return out, rows

        def augmented(batch: tuple[NDArray[np.uint8], Rows]) -> Tensor:
            pixels, rows = batch
            window = self._device.tensor(windows[rows].astype(np.float32))
            return augment(self._device.tensor(pixels), samples.applied[rows], window, size)

        return self._sent(ahead(copied, parts, self._threads, waited), augmented)

    def _sent(self, made: Iterator[Made], send: Callable[[Made], Tensor]) -> Iterator[Tensor]:
        """What is made, on the device: one batch ahead of its use, beside what is computed."""
        if self._beside is None:
            yield from map(send, made)
            return
        sent: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        for batch in made:
            with torch.cuda.stream(self._beside):
                sent.append((send(batch), self._beside.record_event()))
            if len(sent) > 1:
                yield self._arrived(*sent.popleft())
        while sent:
            yield self._arrived(*sent.popleft())

    def _arrived(self, images: Tensor, event: torch.cuda.Event) -> Tensor:
        """Images that what is computed from now on may use."""
        now = torch.cuda.current_stream()
        now.wait_event(event)
        images.record_stream(now)
        return images


def _slices(order: Rows, size: int) -> list[Rows]:
    return [order[start : start + size] for start in range(0, len(order), size)]
