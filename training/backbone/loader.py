"""The loader: batches of images for the network, prefetched by threads.

    pixels ── threads: crop, augment, normalise ─────────────────── tensor   any device
    pixels ── threads: copy ── GPU: crop, augment, normalise ────── tensor   training on a GPU

Evaluation and embeddings always take the first path, which serving uses too.
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
from training.backbone.buffers import BufferPool
from training.backbone.crops import CropBoxes, RandomCrops, crop_and_resize, full_boxes
from training.backbone.gpu_augment import BatchAugmenter
from training.common.context import TrainContext
from training.common.prefetch import WaitTimer, prefetch
from training.data.image_cache.store import Pixels
from training.data.samples import Samples

EVALUATION_BATCH = 128  # at most; it fits without gradients, and smaller ones leave a GPU idle
# Pixels of an evaluation batch on a CPU, whose caches then hold activations: a fifth faster.
CACHED_PIXELS, LEAST_EVALUATION_BATCH = 800_000, 8
Rows = NDArray[np.int64]
Payload = TypeVar("Payload")


class TrainingBatch(NamedTuple):
    """One process's shard of a batch, or one micro-batch of it (gradient accumulation)."""

    images: Tensor  # float32 (B, 3, S, S), channels-last, normalised, on the device
    label: Tensor  # int64 (B,) or (B, Q), see ``Samples``, on the device
    weight: float  # of its mean loss, so that the mean over processes is that of the whole batch
    completes: bool  # whether it is the last micro-batch before an optimizer step
    waited_s: float = 0.0  # time that the consumer waited for it


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


@dataclass(frozen=True)
class _Epoch:
    """The samples of an epoch, cropped and resized to ``size`` pixels."""

    samples: Samples
    boxes: CropBoxes
    size: int


class BatchLoader:
    """Makes batches of normalised images.

    Args:
        images: the source.
        ctx: the device that batches go to, and the processes that share each training batch.
        batch_size: samples in a batch, over all processes.
        threads: number of batches that are prepared at a time.
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
        self._images, self._device, self._world = images, ctx.device, ctx.world
        self._augmentations = images.augmentations.augmentations
        self._batch_size, self._threads = batch_size, threads
        self._side = int(images.pixels[0].shape[0])
        self._buffers = BufferPool(pinned=ctx.device.is_cuda)
        if augment_on_device is None:
            supported = BatchAugmenter.supports_all(images.augmentations)
            augment_on_device = ctx.device.is_cuda and supported
        self._augmenter: BatchAugmenter | None = None
        if augment_on_device:
            self._augmenter = BatchAugmenter(
                images.augmentations, images.normalizer, ctx.device.torch_device
            )
        self._copy_stream: torch.cuda.Stream | None = None  # copies overlap with computation
        if ctx.device.is_cuda:
            self._copy_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # the augmenter's tables are on the device

    def in_order(self, samples: Samples) -> Iterator[Tensor]:
        """Yield every sample once, as served: float32 (B, 3, S, S), channels-last, normalised.

        The size of these batches suits the device; it does not depend on that of training batches
        unless those are smaller.
        """
        epoch = _Epoch(samples, full_boxes(len(samples), self._side), self._side)
        parts = _slices(np.arange(len(samples)), self._evaluation_batch())
        yield from self._made_by_threads(epoch, parts, WaitTimer())

    def shuffled(
        self,
        samples: Samples,
        crops: RandomCrops,
        epoch: int,
        *,
        size: int | None = None,
        micro_batches: int = 1,
    ) -> Iterator[TrainingBatch]:
        """Yield every sample once, randomly cropped, in an order drawn for the epoch.

        The order does not depend on the number of processes; each makes its shard of every batch.
        Samples of one owner follow each other.
        The last batch is filled up to two samples per micro-batch, which batch normalisation needs.

        Args:
            samples: the samples of the epoch.
            crops: draws a crop box for each sample.
            epoch: from 1; decides the order and the boxes.
            size: side of the images; by default that of the pixels.
            micro_batches: number of parts that a process's shard of a batch is yielded in.
        """
        order = samples.shuffled(np.random.default_rng((crops.seed, epoch)))
        batches = self._batches(order, micro_batches)
        world, parts = self._world, self._world.size * micro_batches
        shards = [
            np.array_split(batch, parts)[number % micro_batches * world.size + world.rank]
            for number, batch in enumerate(batches)
        ]
        boxes = crops.boxes(epoch, len(samples), self._side)
        if samples.mirrored is not None:
            boxes[:, 4] &= samples.mirrored
        shown = _Epoch(samples, boxes, size or self._side)
        timer, before = WaitTimer(), 0.0
        make = self._made_by_threads if self._augmenter is None else self._made_on_device
        tensors = make(shown, shards, timer)
        for number, (rows, batch, images) in enumerate(zip(shards, batches, tensors, strict=True)):
            yield TrainingBatch(
                images,
                self._device.tensor(samples.label[rows]),
                len(rows) * world.size / len(batch),
                completes=number % micro_batches == micro_batches - 1,
                waited_s=timer.seconds - before,
            )
            before = timer.seconds

    def _batches(self, order: Rows, micro_batches: int) -> list[Rows]:
        """Divide rows into batches; each is repeated for each of its micro-batches."""
        least = 2 * self._world.size * micro_batches
        last = len(order) % self._batch_size
        if 0 < last < least:
            order = np.append(order, np.resize(order, least - last))
        return [part for part in _slices(order, self._batch_size) for _ in range(micro_batches)]

    def _evaluation_batch(self) -> int:
        suitable = EVALUATION_BATCH
        if not self._device.is_cuda:
            cached = CACHED_PIXELS // self._side**2
            suitable = min(suitable, max(LEAST_EVALUATION_BATCH, cached))
        return min(self._batch_size, suitable)

    def _made_by_threads(
        self, epoch: _Epoch, parts: list[Rows], timer: WaitTimer
    ) -> Iterator[Tensor]:
        def make(rows: Rows) -> NDArray[np.float32]:
            return self._make(epoch, rows)

        def send(batch: NDArray[np.float32]) -> Tensor:
            return self._device.tensor(batch).permute(0, 3, 1, 2)

        return self._sent(prefetch(make, parts, self._threads, timer), send)

    def _make(self, epoch: _Epoch, rows: Rows) -> NDArray[np.float32]:
        """Prepare a batch, float32 (B, S, S, 3), with OpenCV."""
        samples, size = epoch.samples, epoch.size
        out = self._buffers.take((len(rows), size, size, 3), np.float32)
        for index, row in enumerate(rows):
            pixels = self._images.pixels[samples.file[row]]
            image = crop_and_resize(pixels, epoch.boxes[row], size)
            image = self._augmentations[samples.applied[row]].apply(image)
            self._images.normalizer.into_channels_last(image, out[index])
        return out

    def _made_on_device(
        self, epoch: _Epoch, parts: list[Rows], timer: WaitTimer
    ) -> Iterator[Tensor]:
        augmenter, samples = self._augmenter, epoch.samples
        assert augmenter is not None

        def copy(rows: Rows) -> tuple[NDArray[np.uint8], Rows]:
            out = self._buffers.take((len(rows), self._side, self._side, 3), np.uint8)
            for index, file in enumerate(samples.file[rows]):
                out[index] = self._images.pixels[file]
            return out, rows

        def send(batch: tuple[NDArray[np.uint8], Rows]) -> Tensor:
            pixels, rows = batch
            boxes = self._device.tensor(epoch.boxes[rows].astype(np.float32))
            images = self._device.tensor(pixels)
            return augmenter(images, samples.applied[rows], boxes, epoch.size)

        return self._sent(prefetch(copy, parts, self._threads, timer), send)

    def _sent(
        self, batches: Iterator[Payload], send: Callable[[Payload], Tensor]
    ) -> Iterator[Tensor]:
        """Prefetch to the GPU: send each batch while the one before it is computed."""
        if self._copy_stream is None:
            yield from map(send, batches)
            return
        sent: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        for batch in batches:
            with torch.cuda.stream(self._copy_stream):
                sent.append((send(batch), self._copy_stream.record_event()))
            if len(sent) > 1:
                yield self._arrived(*sent.popleft())
        while sent:
            yield self._arrived(*sent.popleft())

    def _arrived(self, images: Tensor, event: torch.cuda.Event) -> Tensor:
        """Make later computation wait for the copy of a batch."""
        stream = torch.cuda.current_stream()
        stream.wait_event(event)
        images.record_stream(stream)
        return images


def _slices(order: Rows, size: int) -> list[Rows]:
    return [order[start : start + size] for start in range(0, len(order), size)]
