"""The files of one folder of decoded images: slots of pixels, and an index with a record of each.

A record is written after its pixels, so a slot with a record is complete. Such a slot is never
overwritten, and files are only replaced, or truncated after the last record, so that processes
that have the pixels mapped keep theirs.
"""

import errno
import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augrank.files import atomic_write
from augrank.images.decode import RgbImage
from augrank.images.letterbox import WHITE
from training.data.image_cache.quota import INDEX, PARTIAL, PIXELS, cache_disk_errors

RECORD = struct.Struct("<32sII")  # sha256, slot, crc32


class Record(NamedTuple):
    """Location of an image's pixels."""

    slot: int
    crc32: int  # of the pixels


Records = dict[str, Record]  # by sha256
Write = Callable[[str, Record, RgbImage], None]


class ImageSlots:
    """Slots for images of one size; slot 0 is white.

    Args:
        folder: a folder that this process has locked.
        size: side of the images, in pixels.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._pixels, self._index = folder / PIXELS, folder / INDEX
        self._folder, self._size = folder, size
        self.image_bytes = size * size * 3
        self.slot_bytes = self.image_bytes + RECORD.size  # with its record

    def __len__(self) -> int:
        """Return the number of slots in the file; 0 if it was never completed."""
        return self._pixels.stat().st_size // self.image_bytes if self._pixels.exists() else 0

    def remove_partial(self) -> None:
        """Remove leftovers of killed processes: unfinished files, partial records."""
        for part in self._folder.glob(PARTIAL):
            part.unlink()
        if self._index.exists():
            size = self._index.stat().st_size
            os.truncate(self._index, size - size % RECORD.size)

    def read_index(self, wanted: Collection[str] | None) -> tuple[dict[str, list[Record]], int]:
        """Read the index.

        Args:
            wanted: sha256 of the images to look for; None: all.

        Returns:
            Records by sha256, and the number of slots in use.
        """
        count, used = len(self), 1
        found = defaultdict[str, list[Record]](list)
        content = self._index.read_bytes() if count and self._index.exists() else b""
        for digest, slot, crc in RECORD.iter_unpack(content):
            if slot < count:
                used = max(used, slot + 1)
                if wanted is None or digest.hex() in wanted:
                    found[digest.hex()].append(Record(slot, crc))
        return dict(found), used

    def memmap(self) -> NDArray[np.uint8]:
        """Map the pixels, uint8 (slots, S, S, 3); there must be a slot."""
        shape = (len(self), self._size, self._size, 3)
        mapped = np.memmap(self._pixels, np.uint8, "r", shape=shape)
        return mapped.view(np.ndarray)  # indexing a plain array takes a third of the time

    def reserve(self, slots: int) -> None:
        """Allocate the disk space of all slots: writing to a map of a full disk is fatal."""
        with cache_disk_errors(self._folder):
            self._pixels.touch()
            with self._pixels.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, slots * self.image_bytes)
                os.pwrite(stream.fileno(), bytes([WHITE]) * self.image_bytes, 0)

    def truncate(self, slots: int) -> None:
        """Free the space after these slots, none of which has a record."""
        with cache_disk_errors(self._folder):
            os.truncate(self._pixels, slots * self.image_bytes)

    @contextmanager
    def writer(self) -> Iterator[Write]:
        """Yield a function that writes an image, uint8 (S, S, 3), to its slot, then its record."""
        with self._pixels.open("r+b") as pixels, self._index.open("ab", buffering=0) as index:

            def write(digest: str, record: Record, image: RgbImage) -> None:
                offset = record.slot * self.image_bytes
                with cache_disk_errors(self._folder):
                    _check_written(os.pwrite(pixels.fileno(), image.data, offset), self.image_bytes)
                    _check_written(index.write(_packed(digest, record)), RECORD.size)

            yield write

    def compact(self, records: Records) -> Records:
        """Rewrite the folder with only these images, and return their new records.

        While the pixels are replaced, the index holds old and new records: it fits both files.
        """
        old = self.memmap()
        by_slot = sorted(records, key=lambda digest: records[digest])
        new = {digest: Record(n, records[digest].crc32) for n, digest in enumerate(by_slot, 1)}
        packed = b"".join(_packed(digest, record) for digest, record in new.items())
        with cache_disk_errors(self._folder):
            with atomic_write(self._pixels) as temporary:
                with temporary.open("wb") as stream:
                    stream.write(bytes([WHITE]) * self.image_bytes)
                    for digest in new:
                        stream.write(old[records[digest].slot].data)
                with self._index.open("ab") as index:
                    index.write(packed)
            with atomic_write(self._index) as temporary:
                temporary.write_bytes(packed)
        return new


def valid_record(records: Sequence[Record], slots: NDArray[np.uint8]) -> Record | None:
    """Return the first record whose pixels have its checksum, or None.

    Args:
        records: the index's records of one image.
        slots: uint8 (slots, S, S, 3).
    """
    return next((r for r in records if zlib.crc32(slots[r.slot]) == r.crc32), None)


def _packed(digest: str, record: Record) -> bytes:
    return RECORD.pack(bytes.fromhex(digest), *record)


def _check_written(written: int, size: int) -> None:
    """Raise ENOSPC for a short write: a full disk accepts a part, and only the next write fails."""
    if written < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
