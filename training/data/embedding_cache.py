"""The cache of embeddings: no image passes the same backbone with the same augmentation twice.

    CACHE/embeddings-1a2b3c4d/features.f32    rows of float32 (F,)
    CACHE/embeddings-1a2b3c4d/index           a record for each row: its name, CRC of its bytes
    CACHE/embeddings-1a2b3c4d/lock            held by the process that fills it; its time: last use

The folder's name is a hash of weights, size, normalisation and arithmetic; a row's name is a hash
of image and augmentation. A record is written after its row, and rows are compared with their CRC,
so an interrupt leaves complete rows. Rows that do not fit on the disk or in the quota are not
cached.
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
    available_bytes,
    cache_disk_errors,
    evict,
    evict_lru,
    lock,
    no_op,
    others_bytes,
)
from training.data.memmap import large_array

RECORD = struct.Struct("<16sI")  # name, crc32


def row_name(image: str, augmentation: str) -> bytes:
    """Hash an image's sha256 and an augmentation's hash into the name of a row."""
    return hashlib.sha256(bytes.fromhex(image + augmentation)).digest()[:16]


class EmbeddingStore:
    """The embeddings of one backbone.

    Args:
        cache: folder of all caches; processes may share it.
        digest: hash of everything that decides features, except image and augmentation.
        width: number of features.
        limit_gb: quota of the whole cache, in GB.
        say: receives messages about waiting and eviction.
    """

    def __init__(
        self,
        cache: Path,
        digest: str,
        width: int,
        limit_gb: float = math.inf,
        say: Say = no_op,
    ) -> None:
        self.folder, self._width = cache / f"embeddings-{digest[:16]}", width
        self._row_bytes, self._limit_bytes = 4 * width, limit_gb * GB
        self._rows, self._say = 0, say

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder to read and add rows in this block; other processes wait."""
        with lock(self.folder, self._say):
            with cache_disk_errors(self.folder):
                self._truncate_partial()
            yield

    def read(self, names: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Read the rows that are cached.

        Args:
            names: names of rows.

        Returns:
            features: float32 (names, F), without the missing rows; on disk if memory is short.
            missing: int64, positions of the names that are not cached.
        """
        features = large_array((len(names), self._width), self.folder)
        missing = np.ones(len(names), np.bool_)
        if self._rows:
            shape = (self._rows, self._width)
            stored = np.memmap(self.folder / FEATURES, np.float32, "r", shape=shape)
            records = RECORD.iter_unpack((self.folder / INDEX).read_bytes())
            index = {name: (row, crc) for row, (name, crc) in enumerate(records)}
            for number, name in enumerate(names):
                row, crc = index.get(name, (-1, 0))
                if row >= 0 and zlib.crc32(stored[row]) == crc:
                    features[number], missing[number] = stored[row], False
        return features, np.flatnonzero(missing)

    def add(self, names: Sequence[bytes], features: NDArray[np.float32]) -> bool:
        """Cache rows if disk and quota have room once older embeddings are evicted.

        Args:
            names: names of rows.
            features: float32 (names, F).

        Returns:
            Whether they were cached.

        Raises:
            DataError: the disk cannot be written to.
        """
        existing = self._rows * (self._row_bytes + RECORD.size)
        own = existing + len(names) * (self._row_bytes + RECORD.size)
        limit = min(
            self._limit_bytes - others_bytes(self.folder, [DECODED]),
            available_bytes(self.folder) + existing + others_bytes(self.folder, [EMBEDDINGS]),
        )
        if own > limit:
            return False
        if evict_lru(self.folder, own, limit, [EMBEDDINGS], say=self._say) > limit:
            return False
        crcs = [zlib.crc32(row) for row in np.ascontiguousarray(features)]
        records = b"".join(RECORD.pack(*record) for record in zip(names, crcs, strict=True))
        with cache_disk_errors(self.folder):
            for file, content in ((FEATURES, features.tobytes()), (INDEX, records)):
                with (self.folder / file).open("ab") as stream:
                    stream.write(content)
        self._rows += len(names)
        return True

    def _truncate_partial(self) -> None:
        """Drop rows without a record and records without a row, which a killed process left."""
        files = (self.folder / FEATURES, self._row_bytes), (self.folder / INDEX, RECORD.size)
        for file, _ in files:
            file.touch()
        self._rows = min(file.stat().st_size // size for file, size in files)
        for file, size in files:
            if file.stat().st_size > self._rows * size:
                os.truncate(file, self._rows * size)


def evict_embeddings(cache: Path) -> None:
    """Delete the embeddings in a cache, except those that another process is writing."""
    for folder in cache.glob(EMBEDDINGS):
        if folder.is_dir():
            evict(folder)
        else:  # the layout of earlier versions
            folder.unlink(missing_ok=True)
