"""XGBoost's quantised matrices of what heads learn from: in memory, or on disk if too large."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import xgboost

from augrank.errors import DataError
from augrank.models.head import HeadInput
from augrank.resources import available_memory
from training.heads.dataset import Inputs, OutcomeRows

CELLS_PER_THREAD = 4_000_000  # below this, threads wait for one another longer than they work
MEMORY_SHARE = 0.5  # of what is free, for the matrices of one set of inputs


def threads_for(rows: int, width: int, threads: int) -> int:
    """How many of ``threads`` a table of rows x width keeps busy."""
    return max(1, min(threads, rows * width // CELLS_PER_THREAD))


@dataclass(frozen=True, eq=False)
class MatrixPair:
    """Quantised rows of training and validation, and the device that can read them."""

    train: xgboost.DMatrix
    validation: xgboost.DMatrix
    device: str


class Matrices:
    """XGBoost's quantised matrices, kept while the next target has the same rows.

    A pair that would take more than its share of the memory stands on disk instead, in pages of
    ``CHUNK_CELLS`` numbers. XGBoost makes the same trees of it, but on the CPU alone: its GPU reads
    no pages that were made from arrays of the host.

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
        """Nothing is built yet.

        Args:
            inputs: embeddings and contexts.
            threads: of XGBoost.
            folder: for pages on disk; what it holds is removed, at the start and at the end.
            device: of XGBoost, ``cpu`` or ``cuda``.
            memory_bytes: what a pair may take; by default MEMORY_SHARE of what is free.
            gpu_memory_bytes: the same, of the GPU.
        """
        self._inputs, self._threads, self._folder = inputs, threads, folder
        self._device, self._memory_bytes = device, memory_bytes
        self._gpu_memory_bytes = gpu_memory_bytes
        self.on_disk = False  # whether any pair had to be
        self.beyond_gpu = False  # whether any pair was too large for its memory
        self._kept: dict[tuple[HeadInput, ...], tuple[bytes, MatrixPair]] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)  # of a process that was killed
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def get(
        self, names: tuple[HeadInput, ...], train: OutcomeRows, validation: OutcomeRows
    ) -> MatrixPair:
        """Matrices of training and validation, labelled.

        Raises:
            DataError: they fit neither in memory nor on disk.
        """
        key = hashlib.sha256()
        for part in (train, validation):
            for rows in (part.embedding, part.context):
                key.update(rows.tobytes())
        if names not in self._kept or self._kept[names][0] != key.digest():
            self._kept.pop(names, None)  # makes room
            self._kept[names] = (key.digest(), self._build(names, train, validation))
        pair = self._kept[names][1]
        for matrix, part in ((pair.train, train), (pair.validation, validation)):
            matrix.set_label(part.label)
            matrix.set_weight(part.weight)
        return pair

    def _build(
        self, names: tuple[HeadInput, ...], train: OutcomeRows, validation: OutcomeRows
    ) -> MatrixPair:
        width = self._inputs.width(names)
        # XGBoost keeps each number's bin by row and by column, a byte each, and eight for each row.
        needed = (len(train) + len(validation)) * (2 * width + 8)
        limit = self._memory_bytes
        if limit is None:
            limit = int(available_memory() * MEMORY_SHARE)
        on_disk = needed > limit
        if on_disk:
            self._make_folder(needed)
            self.on_disk = True
        made = xgboost.ExtMemQuantileDMatrix if on_disk else xgboost.QuantileDMatrix

        def quantise(rows: OutcomeRows, ref: xgboost.DMatrix | None) -> xgboost.DMatrix:
            pieces = _Pieces(names, rows, self._inputs, self._folder if on_disk else None)
            return made(pieces, ref=ref, nthread=threads_for(len(rows), width, self._threads))

        first = quantise(train, None)
        device = self._device if not on_disk and self._gpu_holds(needed) else "cpu"
        return MatrixPair(first, quantise(validation, first), device)

    def _gpu_holds(self, needed: int) -> bool:
        if self._device == "cpu":
            return True
        limit = self._gpu_memory_bytes
        if limit is None:
            import torch

            limit = int(torch.cuda.mem_get_info()[0] * MEMORY_SHARE)
        self.beyond_gpu |= needed > limit
        return needed <= limit

    def _make_folder(self, needed: int) -> None:
        """Look for room beforehand: XGBoost ends the process where the disk runs full."""
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        wanted = needed + needed // 8  # every page repeats the bins' bounds
        if wanted > free:
            raise DataError(
                f"neither memory nor disk holds the rows that heads learn from ({self._folder})",
                expected=f"{wanted / 2**30:.1f} GB free on disk",
                got=f"{free / 2**30:.1f} GB",
                remedy="Free some, or train on a machine with more memory.",
            )


class _Pieces(xgboost.DataIter):  # type: ignore[misc]
    """Hands rows to XGBoost a piece at a time, so that they never stand in memory all at once."""

    def __init__(
        self,
        names: tuple[HeadInput, ...],
        rows: OutcomeRows,
        inputs: Inputs,
        folder: Path | None,
    ) -> None:
        self._names, self._rows, self._inputs = names, rows, inputs
        self.reset()
        super().__init__(None if folder is None else str(folder / "rows"))

    def next(self, input_data: Callable[..., None]) -> bool:
        part = next(self._chunks, None)
        if part is None:
            return False
        embedding, context = self._rows.embedding[part], self._rows.context[part]
        input_data(data=self._inputs.assemble(self._names, embedding, context))
        return True

    def reset(self) -> None:
        self._chunks = self._rows.chunks(self._inputs.width(self._names))
