"""Memory that batches come in."""

import sys
import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray


def _references_of_a_free_one() -> int:
    """How many refer to an array of a list that nobody else knows: list, loop and question."""
    count = 0
    for array in [np.empty(0)]:
        count = sys.getrefcount(array)
    return count


FREE = _references_of_a_free_one()


class BatchMemory:
    """Arrays for batches, each used again when nothing refers to it any more.

    Fresh memory of this size comes from the kernel page by page, which costs as much as filling it.
    Where another shape is asked for, free arrays of the former one are let go: sides that grow from
    epoch to epoch would pile up. For a GPU it is page-locked, and torch itself keeps it until a
    copy from it is done.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        self._kept: list[NDArray[Any]] = []
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array; what it holds is undefined."""
        if self._pinned:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            return torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        with self._lock:
            used = []
            for array in self._kept:
                if sys.getrefcount(array) > FREE:
                    used.append(array)
                elif array.shape == shape and array.dtype == dtype:
                    return array
            self._kept = [*used, array := np.empty(shape, dtype)]
            return array
