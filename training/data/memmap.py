"""Arrays that may be larger than memory."""

import math
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.resources import available_memory
from training.data.image_cache.quota import cache_disk_errors

MEMORY_SHARE = 0.25  # of the free memory, for one array


def large_array(shape: tuple[int, ...], folder: Path) -> NDArray[np.float32]:
    """Allocate an array in memory, or memory-mapped on disk if it exceeds its share of memory.

    Args:
        shape: the array's shape.
        folder: where the mapped file is created. It has no name and is freed with the array.

    Raises:
        DataError: it does not fit on the disk.
    """
    size_bytes = 4 * math.prod(shape)
    if size_bytes <= available_memory() * MEMORY_SHARE:
        return np.empty(shape, np.float32)
    with cache_disk_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size_bytes)
        return np.memmap(file, np.float32, "r+", shape=shape).view(np.ndarray)
