"""Batches of pictures for the network, made ahead by threads.

    pixels ── threads: window, augmentation, normalised ──────────────── tensor    any device
    pixels ── threads: copied ── GPU: window, augmentation, normalised ─ tensor    training on a GPU

What is measured, and what heads learn from, always goes the first way, which is that of serving.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augrank.augmentations import AugmentationSet
from augrank.preprocess import Normalizer
from training.ahead import ahead
from training.batch_augmentations import BatchAugmentations
from training.distributed import Team
from training.engine import Engine
from training.jitter import Jitter, Windows, look, no_jitter
from training.picture_store import Pixels
from training.samples import Samples

Rows = NDArray[np.int64]


class TrainingBatch(NamedTuple):
    """A part of a batch: a process's share, or a piece of that."""

    pictures: Tensor  # float32 (B, 3, S, S), channels-last, normalised, on the device
    label: Tensor  # int64 (B,), on the device
    weight: float  # of its mean loss, so that the mean over processes is the whole batch's
    completes: bool  # whether the optimiser steps after it


class Batches:
    """Makes batches of normalised pictures.

    Args:
        pixels: uint8 (files, S, S, 3), by file.
        augmentations: the set.
        normalizer: of the runtime.
        engine: where the batches go.
        batch_size: samples in a batch, of all processes together.
        threads: batches made at a time.
        team: the processes that share each training batch.
        on_device: whether training batches are augmented on the device; by default on a GPU that
            can make the whole set.
    """

    def __init__(
        self,
        pixels: Pixels | NDArray[np.uint8],
        augmentations: AugmentationSet,
        normalizer: Normalizer,
        engine: Engine,
        *,
        batch_size: int,
        threads: int,
        team: Team = Team(),
        on_device: bool | None = None,
    ) -> None:
        self._pixels, self._augmentations = pixels, augmentations.augmentations
        self._normalizer, self._engine = normalizer, engine
        self._batch_size, self._threads, self._team = batch_size, threads, team
        self._side = int(pixels[0].shape[0])
        if on_device is None:
            on_device = engine.is_cuda and BatchAugmentations.supports_all(augmentations)
        self._on_device = (
            BatchAugmentations(augmentations, normalizer, engine.device) if on_device else None
        )

    def in_order(self, samples: Samples) -> Iterator[Tensor]:
        """Every sample once, as served: float32 (B, 3, S, S), channels-last, normalised."""
        windows = no_jitter(len(samples), self._side)

        def make(rows: Rows) -> NDArray[np.float32]:
            return self._make(samples, rows, windows, self._side)

        for made in ahead(make, _slices(np.arange(len(samples)), self._batch_size), self._threads):
            yield self._channels_first(made)

    def shuffled(
        self, samples: Samples, jitter: Jitter, epoch: int, *, size: int | None = None,
        pieces: int = 1,
    ) -> Iterator[TrainingBatch]:  # fmt: skip
        """Every sample once, jittered, in an order drawn for the epoch.

        The order is that of one process whatever the team's size; each makes its share of every
        batch. The last batch is filled up to two samples a piece, which batch normalisation needs.

        Args:
            samples: to show.
            jitter: draws a window for each.
            epoch: another one has another order and other windows.
            size: side of the pictures; by default as they are.
            pieces: that a process's share of a batch comes in.
        """
        team, size = self._team, size or self._side
        parts, least = team.size * pieces, 2 * team.size * pieces
        order = np.random.default_rng((jitter.seed, epoch)).permutation(len(samples))
        last = len(order) % self._batch_size
        if 0 < last < least:
            order = np.append(order, np.resize(order, least - last))
        whole = [part for part in _slices(order, self._batch_size) for _ in range(pieces)]
        own = [
            part[place % pieces * team.size + team.rank :: parts]
            for place, part in enumerate(whole)
        ]
        windows = jitter.windows(epoch, len(samples), self._side)
        # A file that was changed elsewhere must not be mirrored after the change.
        windows[:, 4] &= samples.applied == samples.label
        made = (
            self._made_on_device(samples, own, windows, size)
            if self._on_device is not None
            else self._made_here(samples, own, windows, size)
        )
        for place, (rows, of, pictures) in enumerate(zip(own, whole, made, strict=True)):
            yield TrainingBatch(
                pictures,
                self._engine.tensor(samples.label[rows]),
                len(rows) * team.size / len(of),
                completes=place % pieces == pieces - 1,
            )

    # --- made by threads --------------------------------------------------------------------------

    def _made_here(
        self, samples: Samples, parts: list[Rows], windows: Windows, size: int
    ) -> Iterator[Tensor]:
        def make(rows: Rows) -> NDArray[np.float32]:
            return self._make(samples, rows, windows, size)

        for made in ahead(make, parts, self._threads):
            yield self._channels_first(made)

    def _make(
        self, samples: Samples, rows: Rows, windows: Windows, size: int
    ) -> NDArray[np.float32]:
        """float32 (B, S, S, 3)."""
        out = self._engine.memory.take((len(rows), size, size, 3), np.float32)
        for place, row in enumerate(rows):
            picture = look(self._pixels[samples.file[row]], windows[row], size)
            picture = self._augmentations[samples.applied[row]].apply(picture)
            self._normalizer.into_channels_last(picture, out[place])
        return out

    def _channels_first(self, batch: NDArray[np.float32]) -> Tensor:
        return self._engine.tensor(batch).permute(0, 3, 1, 2)

    # --- made on the device -----------------------------------------------------------------------

    def _made_on_device(
        self, samples: Samples, parts: list[Rows], windows: Windows, size: int
    ) -> Iterator[Tensor]:
        """Copied beside what the device computes, and augmented there."""
        assert self._on_device is not None

        def copied(rows: Rows) -> tuple[NDArray[np.uint8], Rows]:
            shape = (len(rows), self._side, self._side, 3)
            out = self._engine.memory.take(shape, np.uint8)
            for place, file in enumerate(samples.file[rows]):
                out[place] = self._pixels[file]
            return out, rows

        beside = torch.cuda.Stream() if self._engine.is_cuda else None  # type: ignore[no-untyped-call]
        for batch, rows in ahead(copied, parts, self._threads):
            window = windows[rows].astype(np.float32)
            with torch.cuda.stream(beside):
                pixels, jitter = self._engine.tensor(batch), self._engine.tensor(window)
            if beside is not None:
                now = torch.cuda.current_stream()
                now.wait_stream(beside)
                for tensor in (pixels, jitter):
                    tensor.record_stream(now)
            yield self._on_device(pixels, samples.applied[rows], jitter, size)


def _slices(order: Rows, size: int) -> list[Rows]:
    return [order[start : start + size] for start in range(0, len(order), size)]
