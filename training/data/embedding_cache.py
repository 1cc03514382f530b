"""Features on disk: no image goes through the same backbone with the same augmentation twice.

    CACHE/embeddings-1a2b3c4d/features.f32    rows of float32 (F,)
    CACHE/embeddings-1a2b3c4d/index           a record for each row: its name, CRC of its bytes
    CACHE/embeddings-1a2b3c4d/lock            held by the process that fills; says the last use

The folder's name says weights, size, normalisation and arithmetic; a row's name is of image and
augmentation. A record is written after its row, and rows are held against their CRC, so that what
an interrupt leaves is whole. Rows that disk or limit have no room for are not kept.
"""

import hashlib
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.image_cache.quota import (
    DECODED,
    EMBEDDINGS,
    FEATURES,
    GB,
    INDEX,
    Say,
    alone,
    emptied_within,
    others_bytes,
    room_bytes,
    unsaid,
    writing,
)
from training.data.memmap import large_array

RECORD = struct.Struct("<16sI")  # name, crc32


def row_name(image: str, augmentation: str) -> bytes:
    """Of an image's sha256 and an augmentation's hash."""
    return hashlib.sha256(bytes.fromhex(image + augmentation)).digest()[:16]


class EmbeddingStore:
    """The folder of one backbone.

    Args:
        cache: folder of the store; processes may share it.
        digest: of what decides features, but for image and augmentation.
        width: of features.
        limit_gb: that all the cache may take.
        say: told of waiting and of what is removed.
    """

    def __init__(
        self,
        cache: Path,
        digest: str,
        width: int,
        limit_gb: float = math.inf,
        say: Say = unsaid,
    ) -> None:
        self.folder, self._width = cache / f"embeddings-{digest[:16]}", width
        self._row_bytes, self._limit_bytes = 4 * width, limit_gb * GB
        self._rows, self._say = 0, say

    @contextmanager
    def held(self) -> Iterator[None]:
        """Read and add rows in this block; other processes wait."""
        with alone(self.folder, self._say):
            with writing(self.folder):
                self._tidy()
            yield

    def read(self, names: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """What is there.

        Args:
            names: of rows.

        Returns:
            features: float32 (names, F), to be completed; on disk where memory is short.
            missing: int64, which names are not there.
        """
        features = large_array((len(names), self._width), self.folder)
        missing = np.ones(len(names), np.bool_)
        if self._rows:
            shape = (self._rows, self._width)
            stored = np.memmap(self.folder / FEATURES, np.float32, "r", shape=shape)
            records = RECORD.iter_unpack((self.folder / INDEX).read_bytes())
            noted = {name: (row, crc) for row, (name, crc) in enumerate(records)}
            for number, name in enumerate(names):
                row, crc = noted.get(name, (-1, 0))
                if row >= 0 and zlib.crc32(stored[row]) == crc:
                    features[number], missing[number] = stored[row], False
        return features, np.flatnonzero(missing)

    def add(self, names: Sequence[bytes], features: NDArray[np.float32]) -> bool:
        """Keep rows, where disk and limit leave room once older embeddings are gone.

        Args:
            names: of rows.
            features: float32 (names, F).

        Returns:
            Whether they are kept.

        Raises:
            DataError: the disk cannot be written.
        """
        there = self._rows * (self._row_bytes + RECORD.size)
        own = there + len(names) * (self._row_bytes + RECORD.size)
        limit = min(
            self._limit_bytes - others_bytes(self.folder, [DECODED]),
            room_bytes(self.folder) + there + others_bytes(self.folder, [EMBEDDINGS]),
        )
        if own > limit:
            return False
        if emptied_within(self.folder, own, limit, [EMBEDDINGS], say=self._say) > limit:
            return False
        crcs = [zlib.crc32(row) for row in np.ascontiguousarray(features)]
        records = b"".join(RECORD.pack(*record) for record in zip(names, crcs, strict=True))
        with writing(self.folder):
            for file, content in ((FEATURES, features.tobytes()), (INDEX, records)):
                with (self.folder / file).open("ab") as stream:
                    stream.write(content)
        self._rows += len(names)
        return True

    def _tidy(self) -> None:
        """Drop rows without a record and records without a row, which a killed process left."""
        files = (self.folder / FEATURES, self._row_bytes), (self.folder / INDEX, RECORD.size)
        for file, _ in files:
            file.touch()
        self._rows = min(file.stat().st_size // size for file, size in files)
        for file, size in files:
            if file.stat().st_size > self._rows * size:
                os.truncate(file, self._rows * size)
