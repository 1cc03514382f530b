"""Arrays that may be larger than memory."""

import math
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.resources import available_memory
from training.data.image_cache.quota import writing

MEMORY_SHARE = 0.25  # of what is free, for one array


def large_array(shape: tuple[int, ...], folder: Path) -> NDArray[np.float32]:
    """An array to be filled, in memory, or on disk where it would take more than its share.

    Args:
        shape: of it.
        folder: for a file, which has no name and goes with the array or the process.

    Raises:
        DataError: the disk does not hold it.
    """
    size_bytes = 4 * math.prod(shape)
    if size_bytes <= available_memory() * MEMORY_SHARE:
        return np.empty(shape, np.float32)
    with writing(folder), tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size_bytes)
        return np.memmap(file, np.float32, "r+", shape=shape).view(np.ndarray)
