"""Decoded pictures on disk: uint8, by content, each decoded once for all epochs and runs.

    CACHE/96px-1a2b3c4d/pixels.u8    slots of 96 x 96 x 3 bytes, memory-mapped; slot 0 is white
    CACHE/96px-1a2b3c4d/index        a record for each picture: sha256, slot, CRC of its pixels
    CACHE/96px-1a2b3c4d/broken.json  why a file has no pixels, by sha256
    CACHE/96px-1a2b3c4d/lock         held by the process that fills; its time says the last use

A record is written after its pixels, so what an interrupt leaves is whole and the next call goes on
with what is missing. Pixels are held against their CRC before they are used; a slot that does not
fit is decoded again. The folder's name says the size and what decodes: another decoder has another
folder. One process fills a folder at a time; others wait for it.

Where new pictures would pass the limit of the cache, other folders are emptied, the least recently
used first, and then the folder is rewritten without the pictures that nobody asked for. A slot that
has a record is never written again and files are only replaced, so that processes which have the
pixels mapped keep theirs.
"""

import errno
import hashlib
import math
import os
import shutil
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from augrank.decode import DECODE_VERSION, WHITE, Picture
from augrank.errors import AugrankError, DataError
from training.ahead import ahead
from training.cache_folders import (
    BROKEN,
    GB,
    INDEX,
    KEPT_FREE_BYTES,
    LOCK,
    PARTS,
    PIXELS,
    Say,
    alone,
    emptied_within,
    unsaid,
    writing,
)
from training.files import read_json, whole, write_json

RECORD = struct.Struct("<32sII")  # sha256, slot, crc32
Places = dict[str, tuple[int, int]]  # slot and crc32, by sha256
Decode = Callable[[int], Picture]


class Unreadable(Exception):
    """A file cannot be read at this moment: nothing is kept of it, so another call tries again."""


Track = Callable[[Iterable[None], int], Iterable[None]]


@dataclass(frozen=True)
class Pixels:
    """Pictures by number, wherever they stand in the store: reads like uint8 (N, S, S, 3)."""

    slots: NDArray[np.uint8]  # (slots, S, S, 3), memory-mapped
    slot: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.slot)

    def __getitem__(self, number: int | np.integer) -> Picture:
        picture: Picture = self.slots[self.slot[number]]
        return picture

    @property
    def side(self) -> int:
        """Of the square pictures."""
        return int(self.slots.shape[1])


def decoder() -> str:
    """What decides the pixels of a file."""
    return f"decode {DECODE_VERSION} cv2 {cv2.__version__} pillow {PIL.__version__}"


class PictureStore:
    """The folder of one size and decoder.

    Args:
        cache: folder of all sizes and decoders; processes may share it.
        size: side of the pictures, in pixels.
        limit_gb: that decoded pictures of all sizes may take of the cache, in GB.
        say: told of waiting and of what is removed.
    """

    def __init__(
        self, cache: Path, size: int, limit_gb: float = math.inf, say: Say = unsaid
    ) -> None:
        key = hashlib.sha256(decoder().encode()).hexdigest()[:8]
        self.folder, self._size = cache / f"{size}px-{key}", size
        self._bytes, self._limit_bytes = size * size * 3, limit_gb * GB
        self._say = say

    def fill(
        self,
        digests: Sequence[str],
        decode: Decode,
        *,
        threads: int,
        track: Track,
        checked: bool = False,
    ) -> tuple[Pixels, dict[int, str]]:
        """Decode what is missing, and give all.

        Args:
            digests: sha256 of each file.
            decode: from a file's number to its pixels, uint8 (S, S, 3); raises Unreadable, or
                AugrankError where it is broken.
            threads: files at a time.
            track: shows progress over what is decoded, of so many.
            checked: another process has just held these pixels against their checksums.

        Returns:
            The pixels of all files, white where one is broken; and why it is, by number.

        Raises:
            DataError: the disk or the limit does not hold them.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / LOCK).touch()
        with alone(self.folder, self._say):
            with writing(self.folder):
                os.utime(self.folder / LOCK)
                self._tidy()
            places, used = self._sound(set(digests), threads, check=not checked)
            broken, unreadable = self._broken(), dict[str, str]()
            first: dict[str, int] = {}
            for number, digest in enumerate(digests):
                first.setdefault(digest, number)
            missing = {
                digest: number
                for digest, number in first.items()
                if digest not in places and digest not in broken
            }
            if missing or not self._slots():
                places, used = self._keep_limit(places, used, len(missing))
                self._make_room(used + len(missing))
                made = self._decode(missing, decode, used, broken, unreadable, threads, track)
                places |= made
            pixels = self._map()  # before another process replaces them
        slots = np.array(
            [places[digest][0] if digest in places else 0 for digest in digests], np.int64
        )
        reasons = broken | unreadable
        why = {n: reasons[digest] for n, digest in enumerate(digests) if digest in reasons}
        return Pixels(pixels, slots), why

    @property
    def _pixels(self) -> Path:
        return self.folder / PIXELS

    @property
    def _index(self) -> Path:
        return self.folder / INDEX

    def _tidy(self) -> None:
        """Drop what killed processes left: files that were not yet whole, half a record."""
        for part in self.folder.glob(PARTS):
            part.unlink()
        if self._index.exists():
            size = self._index.stat().st_size
            os.truncate(self._index, size - size % RECORD.size)

    def _sound(self, wanted: set[str], threads: int, *, check: bool) -> tuple[Places, int]:
        """Where the pictures are that are wanted, there and whole; and how many slots are used.

        Without a check the only place that was noted of a picture counts.
        """
        count = self._slots()
        if not count:
            return {}, 1
        used, noted = 1, defaultdict[str, list[tuple[int, int]]](list)  # slot 0 is white
        content = self._index.read_bytes() if self._index.exists() else b""
        for digest, slot, crc in RECORD.iter_unpack(content):
            if slot < count:
                used = max(used, slot + 1)
                if digest.hex() in wanted:
                    noted[digest.hex()].append((slot, crc))
        slots = self._map()

        def that_fits(places: list[tuple[int, int]]) -> tuple[int, int] | None:
            if not check and len(places) == 1:
                return places[0]
            return next(
                ((slot, crc) for slot, crc in places if zlib.crc32(slots[slot]) == crc), None
            )

        with ThreadPoolExecutor(threads) as pool:
            found = zip(noted, pool.map(that_fits, noted.values()), strict=True)
            return {digest: place for digest, place in found if place is not None}, used

    def _broken(self) -> dict[str, str]:
        file = self.folder / BROKEN
        return dict(read_json(file)) if file.exists() else {}

    def _keep_limit(self, places: Places, used: int, new: int) -> tuple[Places, int]:
        """Remove what is not wanted, as far as new pictures would pass the limit.

        Args:
            places: of the pictures that are wanted and there.
            used: slots.
            new: pictures to come.

        Returns:
            The places and the used slots, which are others where the folder was rewritten.

        Raises:
            DataError: what is wanted passes the limit by itself.
        """
        slot_bytes, least = self._bytes + RECORD.size, 1 + len(places) + new
        if least * slot_bytes > self._limit_bytes:
            raise DataError(
                f"the cache's limit does not hold the decoded pictures ({self.folder.parent})",
                expected=f"at most {self._limit_bytes / GB:,.2f} GB",
                got=f"{least * slot_bytes / GB:,.2f} GB, {least - 1:,} pictures of {self._size} px",
                remedy=f"Give --cache-gb {math.ceil(least * slot_bytes / GB)}, or take a smaller "
                "--image-size.",
            )
        slots = max(self._slots(), used + new)
        total = emptied_within(self.folder, slots * slot_bytes, self._limit_bytes, say=self._say)
        if total <= self._limit_bytes or slots == least:
            return places, used
        self._say(f"The cache is full: {self.folder} is rewritten without what is not asked for")
        return self._rewritten(places), 1 + len(places)

    def _rewritten(self, places: Places) -> Places:
        """Rewrite the folder with these pictures alone, and say where they are now.

        While the pixels are replaced the index names old and new places: it fits both.
        """
        self._need((1 + len(places)) * self._bytes)
        former = self._map()
        by_slot = sorted(places, key=lambda digest: places[digest])
        made = {digest: (n, places[digest][1]) for n, digest in enumerate(by_slot, 1)}
        records = b"".join(_record(digest, place) for digest, place in made.items())
        with writing(self.folder):
            with whole(self._pixels) as temporary:
                with temporary.open("wb") as stream:
                    stream.write(bytes([WHITE]) * self._bytes)
                    for digest in made:
                        stream.write(former[places[digest][0]].data)
                with self._index.open("ab") as index:
                    index.write(records)
            with whole(self._index) as temporary:
                temporary.write_bytes(records)
        return made

    def _make_room(self, slots: int) -> None:
        """Take the space of all slots beforehand: a disk that runs full would end the process."""
        wanted = slots * self._bytes
        there = self._pixels.stat().st_size if self._pixels.exists() else 0
        self._need(wanted - there)
        with writing(self.folder):
            self._pixels.touch()
            with self._pixels.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, wanted)
                os.pwrite(stream.fileno(), bytes([WHITE]) * self._bytes, 0)

    def _need(self, wanted: int) -> None:
        """So many bytes of the disk."""
        free = shutil.disk_usage(self.folder).free - KEPT_FREE_BYTES
        if wanted > free:
            raise DataError(
                f"the disk does not hold the decoded pictures ({self.folder})",
                expected=f"{(wanted + KEPT_FREE_BYTES) / GB:.1f} GB free",
                got=f"{(free + KEPT_FREE_BYTES) / GB:.1f} GB",
                remedy="Put the cache elsewhere with --cache, or take a smaller --image-size.",
            )

    def _decode(
        self,
        missing: dict[str, int],
        decode: Decode,
        used: int,
        broken: dict[str, str],
        unreadable: dict[str, str],
        threads: int,
        track: Track,
    ) -> Places:
        """Decode into new slots, and note each when its pixels are there."""
        slots = {digest: used + place for place, digest in enumerate(missing)}
        made: Places = {}

        def one(digest: str) -> tuple[str, Picture | AugrankError | Unreadable]:
            try:
                return digest, decode(missing[digest])
            except (AugrankError, Unreadable) as error:
                return digest, error

        def all_of_them() -> Generator[None, None, None]:
            for digest, result in ahead(one, missing, threads):
                if isinstance(result, AugrankError):
                    broken[digest] = str(result)
                elif isinstance(result, Unreadable):
                    unreadable[digest] = str(result)
                else:
                    place = slots[digest], zlib.crc32(result.data)
                    with writing(self.folder):
                        at = place[0] * self._bytes
                        _all_of(os.pwrite(pixels.fileno(), result.data, at), self._bytes)
                        _all_of(index.write(_record(digest, place)), RECORD.size)
                    made[digest] = place
                yield None

        with (
            self._pixels.open("r+b") as pixels,
            self._index.open("ab", buffering=0) as index,
            closing(all_of_them()) as decoding,  # an interrupt: do not decode what still waits
        ):
            for _ in track(decoding, len(missing)):
                pass
        if broken:
            with writing(self.folder):
                write_json(self.folder / BROKEN, broken)
        return made

    def _slots(self) -> int:
        """In the file: none where a process was killed, or the disk was full, as it was made."""
        return self._pixels.stat().st_size // self._bytes if self._pixels.exists() else 0

    def _map(self) -> NDArray[np.uint8]:
        shape = (self._slots(), self._size, self._size, 3)
        mapped = np.memmap(self._pixels, np.uint8, "r", shape=shape)
        return mapped.view(np.ndarray)  # of which a row costs a third as much


def _record(digest: str, place: tuple[int, int]) -> bytes:
    return RECORD.pack(bytes.fromhex(digest), *place)


def _all_of(written: int, size: int) -> None:
    """A full disk may take a part, and says so only the next time."""
    if written < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
