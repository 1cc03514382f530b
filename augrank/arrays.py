"""Array types named by their element type, and files of arrays."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file, by name. No pickle.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or something else.
    """
    with file.open("rb") as stream:
        if not zipfile.is_zipfile(stream):  # NumPy would advise to load it as a pickle
            raise ValueError("no archive of arrays (.npz)")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as arrays:
                return dict(arrays)
        except (EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"a damaged archive of arrays: {error}") from error
