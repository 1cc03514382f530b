"""A pool of reusable buffers for image batches.

Fresh memory of a batch's size comes from the kernel page by page, which costs as much as filling
it. So the loader owns its buffers. It hands out arrays, and gets a buffer back when the last array
or tensor that shares its memory is garbage-collected: never while a batch is in use, however long a
caller keeps it, and however the interpreter collects garbage.
"""

import math
import weakref
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray


class BufferPool:
    """Hands out arrays for batches from a few buffers; thread-safe.

    Buffers that are too small for a request are freed, so that images that grow from epoch to epoch
    do not pile up. For a GPU, memory is page-locked (pinned) and comes from torch, which keeps it
    until copies from it are done.
    """

    def __init__(self, *, pinned: bool) -> None:
        self._pinned = pinned
        # Its put() may be called by the garbage collector, even during a call of take().
        self._free: SimpleQueue[NDArray[np.uint8]] = SimpleQueue()

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array with undefined contents, of any shape and dtype."""
        if self._pinned:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            return torch.empty(shape, dtype=kind, pin_memory=True).numpy()
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._free_buffer(size_bytes)
        if buffer is None:
            buffer = np.empty(size_bytes, np.uint8)
        # Made from a memoryview, since numpy would let views of this array refer to the buffer
        # instead of to the array.
        array = np.frombuffer(buffer.data[:size_bytes], dtype)
        weakref.finalize(array, self._free.put, buffer).atexit = False
        return array.reshape(shape)

    @property
    def free_buffers(self) -> int:
        """Number of buffers that no array uses."""
        return self._free.qsize()

    def _free_buffer(self, size_bytes: int) -> NDArray[np.uint8] | None:
        """Take a free buffer of that size or larger, and drop the smaller ones before it."""
        while True:
            try:
                buffer = self._free.get_nowait()
            except Empty:
                return None
            if buffer.nbytes >= size_bytes:
                return buffer
