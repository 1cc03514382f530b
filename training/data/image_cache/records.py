"""The files of one folder of decoded images: slots of pixels, and the records that name them.

A record is written after its pixels, so that a slot with a record is whole. It is never written
again, and files are only replaced, or cut behind the last record, so that processes which have the
pixels mapped keep theirs.
"""

import errno
import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.files import atomic_write
from augrank.images.decode import WHITE, RgbImage
from training.data.image_cache.quota import INDEX, PARTS, PIXELS, writing

RECORD = struct.Struct("<32sII")  # sha256, slot, crc32
Place = tuple[int, int]  # slot and crc32
Places = dict[str, Place]  # by sha256


class ImageSlots:
    """Slots of one size; slot 0 is white.

    Args:
        folder: that this process holds.
        size: side of the images, in pixels.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._pixels, self._index = folder / PIXELS, folder / INDEX
        self._folder, self._size = folder, size
        self.image_bytes = size * size * 3
        self.slot_bytes = self.image_bytes + RECORD.size  # with its record

    def __len__(self) -> int:
        """In the file: none where a process was killed, or the disk was full, as it was made."""
        return self._pixels.stat().st_size // self.image_bytes if self._pixels.exists() else 0

    def tidy(self) -> None:
        """Drop what killed processes left: files that were not yet whole, half a record."""
        for part in self._folder.glob(PARTS):
            part.unlink()
        if self._index.exists():
            size = self._index.stat().st_size
            os.truncate(self._index, size - size % RECORD.size)

    def noted(self, wanted: Collection[str] | None) -> tuple[dict[str, list[Place]], int]:
        """What the index says.

        Args:
            wanted: sha256 of the images to look for; None: all.

        Returns:
            Places by sha256, and how many slots are used.
        """
        count, used = len(self), 1
        noted = defaultdict[str, list[Place]](list)
        content = self._index.read_bytes() if count and self._index.exists() else b""
        for digest, slot, crc in RECORD.iter_unpack(content):
            if slot < count:
                used = max(used, slot + 1)
                if wanted is None or digest.hex() in wanted:
                    noted[digest.hex()].append((slot, crc))
        return dict(noted), used

    def mapped(self) -> NDArray[np.uint8]:
        """uint8 (slots, S, S, 3); there must be a slot."""
        shape = (len(self), self._size, self._size, 3)
        mapped = np.memmap(self._pixels, np.uint8, "r", shape=shape)
        return mapped.view(np.ndarray)  # of which a row costs a third as much

    def reserve(self, slots: int) -> None:
        """Take the space of all slots beforehand: a disk that runs full would end the process."""
        with writing(self._folder):
            self._pixels.touch()
            with self._pixels.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, slots * self.image_bytes)
                os.pwrite(stream.fileno(), bytes([WHITE]) * self.image_bytes, 0)

    def cut(self, slots: int) -> None:
        """Give back the space behind these slots, of which none has a record."""
        with writing(self._folder):
            os.truncate(self._pixels, slots * self.image_bytes)

    @contextmanager
    def adding(self) -> Iterator[Callable[[str, Place, RgbImage], None]]:
        """Gives what writes an image, uint8 (S, S, 3), into its place, and its record then."""
        with self._pixels.open("r+b") as pixels, self._index.open("ab", buffering=0) as index:

            def add(digest: str, place: Place, image: RgbImage) -> None:
                at = place[0] * self.image_bytes
                with writing(self._folder):
                    _all_of(os.pwrite(pixels.fileno(), image.data, at), self.image_bytes)
                    _all_of(index.write(_record(digest, place)), RECORD.size)

            yield add

    def rewrite(self, places: Places) -> Places:
        """Rewrite the folder with these images alone, and say where they are now.

        While the pixels are replaced the index names old and new places: it fits both.
        """
        former = self.mapped()
        by_slot = sorted(places, key=lambda digest: places[digest])
        made = {digest: (n, places[digest][1]) for n, digest in enumerate(by_slot, 1)}
        records = b"".join(_record(digest, place) for digest, place in made.items())
        with writing(self._folder):
            with atomic_write(self._pixels) as temporary:
                with temporary.open("wb") as stream:
                    stream.write(bytes([WHITE]) * self.image_bytes)
                    for digest in made:
                        stream.write(former[places[digest][0]].data)
                with self._index.open("ab") as index:
                    index.write(records)
            with atomic_write(self._index) as temporary:
                temporary.write_bytes(records)
        return made


def that_fits(places: Sequence[Place], slots: NDArray[np.uint8]) -> Place | None:
    """The place whose pixels are those that were written there.

    Args:
        places: that the index has of one image.
        slots: uint8 (slots, S, S, 3).
    """
    return next((place for place in places if zlib.crc32(slots[place[0]]) == place[1]), None)


def _record(digest: str, place: Place) -> bytes:
    return RECORD.pack(bytes.fromhex(digest), *place)


def _all_of(written: int, size: int) -> None:
    """A full disk may take a part, and says so only the next time."""
    if written < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
