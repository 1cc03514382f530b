"""The quantised matrices (DMatrix) that XGBoost trains on: in memory, or on disk if too large."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.errors import DataError
from augrank.models.head import HeadInput
from augrank.resources import available_memory, trim_memory
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows

CELLS_PER_THREAD = 4_000_000  # with fewer, synchronisation takes longer than the work
PAGE_CHUNKS = 4  # chunks in a page on disk: each costs XGBoost some time in each round
MEMORY_SHARE = 0.5  # of the free memory, for the matrices of one set of inputs
_Built = tuple[xgboost.DMatrix, xgboost.DMatrix, str]  # see ``MatrixPair``


def threads_for(rows: int, width: int, threads: int) -> int:
    """Return how many of ``threads`` are worth using for a table of rows x width."""
    return max(1, min(threads, rows * width // CELLS_PER_THREAD))


@dataclass(frozen=True, eq=False)
class _Matrix:
    """The quantised rows of distinct shown images; a label is the share of ones among outcomes."""

    matrix: xgboost.DMatrix
    number: NDArray[np.int64]  # (R,) its row of each outcome

    def weigh(self, weight: Float64Array) -> Float64Array:
        """Set the numbers of outcomes; return those of each row of the matrix.

        Args:
            weight: (R,) of the outcomes; those of a shown image are all left out, or none.
        """
        trials = np.bincount(self.number, weight, self.matrix.num_row()).astype(np.float64)
        self.matrix.set_weight(trials)
        return trials

    def set_outcomes(self, rows: OutcomeRows) -> None:
        """Set labels and weights."""
        trials = self.weigh(rows.weight)
        successes = np.bincount(self.number, rows.weight * rows.label, len(trials))
        self.matrix.set_label(successes / np.maximum(trials, 1e-12))


@dataclass(frozen=True, eq=False)
class MatrixPair:
    """The quantised rows of a head, and the device that can read them."""

    all: _Matrix  # of training and validation
    validation: _Matrix
    device: str


class Matrices:
    """Builds XGBoost's quantised matrices, and reuses them if the next target has the same rows.

    A pair that would exceed its share of memory is stored on disk, in pages of PAGE_CHUNKS times
    CHUNK_CELLS numbers. XGBoost builds the same trees from it, but on the CPU only: its GPU
    algorithm does not read pages that were built from host arrays.

        with Matrices(inputs, threads, folder) as matrices:
            fit_head(..., matrices=matrices, ...)
    """

    def __init__(
        self,
        inputs: Inputs,
        threads: int,
        folder: Path,
        *,
        device: str = "cpu",
        memory_bytes: int | None = None,
        gpu_memory_bytes: int | None = None,
    ) -> None:
        """Set the limits; nothing is built yet.

        Args:
            inputs: embeddings and contexts.
            threads: number of XGBoost's threads.
            folder: for pages on disk; deleted at the start and at the end.
            device: XGBoost's device, ``cpu`` or ``cuda``.
            memory_bytes: limit of a pair; default: MEMORY_SHARE of the free memory.
            gpu_memory_bytes: the same for the GPU.
        """
        self._inputs, self._threads, self._folder = inputs, threads, folder
        self._device, self._memory_bytes = device, memory_bytes
        self._gpu_memory_bytes = gpu_memory_bytes
        self.shared = True  # other targets may have the same rows: all matrices are kept for them
        self.on_disk = False  # a pair was stored on disk
        self.exceeded_gpu = False  # a pair did not fit in the GPU's memory
        # By inputs, and whether the rows are a draw: each target needs both.
        self._cache: dict[tuple[tuple[HeadInput, ...], bool], tuple[bytes, _Built]] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)  # left by a killed process
        return self

    def __exit__(self, *_: object) -> None:
        self._cache.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def keep_only(self, names: tuple[HeadInput, ...]) -> None:
        """Free the matrices of other inputs, unless other targets share them."""
        if not self.shared:
            self._cache = {key: kept for key, kept in self._cache.items() if key[0] == names}
            trim_memory()

    def get(self, names: tuple[HeadInput, ...], training: TrainingRows) -> MatrixPair:
        """Return the matrices of the images shown in rows, with labels and weights.

        A fold of rows is the whole matrix in which the other rows have no weight, so that one
        matrix serves every fold and every target with the same rows.

        Raises:
            DataError: they fit neither in memory nor on disk.
        """
        rows, validation = training.rows, training.rows[training.held_out]
        shown = [(part, part.distinct()) for part in (rows, validation)]
        key = hashlib.sha256()
        for part, distinct in shown:
            for values in (part.embedding, part.augmentation, part.context):
                key.update(values[distinct.first].tobytes())
        place = names, training.is_draw
        if place not in self._cache or self._cache[place][0] != key.digest():
            self._cache.pop(place, None)  # frees its memory first
            images = (part[distinct.first] for part, distinct in shown)
            self._cache[place] = (key.digest(), self._build(names, *images))
        all_rows, held_out, device = self._cache[place][1]
        pair = MatrixPair(
            _Matrix(all_rows, shown[0][1].number), _Matrix(held_out, shown[1][1].number), device
        )
        pair.all.set_outcomes(rows)
        pair.validation.set_outcomes(validation)
        return pair

    def _build(
        self, names: tuple[HeadInput, ...], train: OutcomeRows, validation: OutcomeRows
    ) -> _Built:
        width = self._inputs.width(names)
        # XGBoost stores each number's bin by row and by column, one byte each, and 8 bytes a row.
        needed = (len(train) + len(validation)) * (2 * width + 8)
        limit = self._memory_bytes
        if limit is None:
            limit = int(available_memory() * MEMORY_SHARE)
        on_disk = needed > limit
        if on_disk:
            self._make_folder(needed)
            self.on_disk = True
        matrix_type = xgboost.ExtMemQuantileDMatrix if on_disk else xgboost.QuantileDMatrix

        def quantise(rows: OutcomeRows, ref: xgboost.DMatrix | None) -> xgboost.DMatrix:
            pieces = _ChunkIterator(names, rows, self._inputs, self._folder if on_disk else None)
            return matrix_type(
                pieces, ref=ref, nthread=threads_for(len(rows), width, self._threads)
            )

        first = quantise(train, None)
        device = self._device if not on_disk and self._fits_gpu(needed) else "cpu"
        return first, quantise(validation, first), device

    def _fits_gpu(self, needed: int) -> bool:
        if self._device == "cpu":
            return True
        limit = self._gpu_memory_bytes
        if limit is None:
            import torch

            limit = int(torch.cuda.mem_get_info()[0] * MEMORY_SHARE)
        self.exceeded_gpu |= needed > limit
        return needed <= limit

    def _make_folder(self, needed: int) -> None:
        """Check the disk's free space first: XGBoost aborts the process when the disk is full."""
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        wanted = needed + needed // 8  # every page repeats the cut points
        if wanted > free:
            raise DataError(
                f"neither memory nor disk holds the training rows of the heads ({self._folder})",
                expected=f"{wanted / 2**30:.1f} GB free on disk",
                got=f"{free / 2**30:.1f} GB",
                remedy="Free space there, or train on a machine with more memory.",
            )


class _ChunkIterator(xgboost.DataIter):  # type: ignore[misc]
    """Passes rows to XGBoost in chunks, so that they are never all in memory."""

    def __init__(
        self,
        names: tuple[HeadInput, ...],
        rows: OutcomeRows,
        inputs: Inputs,
        folder: Path | None,
    ) -> None:
        self._names, self._rows, self._inputs = names, rows, inputs
        self._size = 1 if folder is None else PAGE_CHUNKS
        self.reset()
        super().__init__(None if folder is None else str(folder / "rows"))

    def next(self, input_data: Callable[..., None]) -> bool:
        part = next(self._chunks, None)
        if part is None:
            return False
        input_data(data=self._inputs.assemble(self._names, self._rows, part))
        return True

    def reset(self) -> None:
        self._chunks = self._rows.chunks(self._inputs.width(self._names), self._size)
