"""Decoded pictures on disk: uint8, by content, each decoded once for all epochs and runs.

    CACHE/96px-1a2b3c4d/pixels.u8    slots of 96 x 96 x 3 bytes, memory-mapped; slot 0 is white
    CACHE/96px-1a2b3c4d/index        a record for each picture: sha256, slot, CRC of its pixels
    CACHE/96px-1a2b3c4d/broken.json  why a file has no pixels, by sha256

A record is written after its pixels, so what an interrupt leaves is whole and the next call goes on
with what is missing. Pixels are held against their CRC before they are used; a slot that does not
fit is decoded again. The folder's name says the size and what decodes: another decoder has another
folder. One process fills a folder at a time; others wait for it.
"""

import fcntl
import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from augrank.decode import DECODE_VERSION, WHITE, Picture
from augrank.errors import AugrankError, DataError
from training.files import read_json, write_json

RECORD = struct.Struct("<32sII")  # sha256, slot, crc32
KEPT_FREE_BYTES = 1 << 30  # of the disk, for what else a run writes
Decode = Callable[[int], Picture]
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


class PictureStore:
    """The folder of one size and decoder."""

    def __init__(self, cache: Path, size: int) -> None:
        versions = f"decode {DECODE_VERSION} cv2 {cv2.__version__} pillow {PIL.__version__}"
        key = hashlib.sha256(versions.encode()).hexdigest()[:8]
        self.folder, self._size = cache / f"{size}px-{key}", size
        self._bytes = size * size * 3

    def fill(
        self, digests: Sequence[str], decode: Decode, *, threads: int, track: Track
    ) -> tuple[Pixels, dict[int, str]]:
        """Decode what is missing, and give all.

        Args:
            digests: sha256 of each file.
            decode: from a file's number to its pixels, uint8 (S, S, 3).
            threads: files at a time.
            track: shows progress over what is decoded, of so many.

        Returns:
            The pixels of all files, white where one is broken; and why it is, by number.

        Raises:
            DataError: the disk does not hold them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            slot_of, used = self._sound(set(digests), threads)
            broken = self._broken()
            first: dict[str, int] = {}
            for number, digest in enumerate(digests):
                first.setdefault(digest, number)
            missing = {
                digest: number
                for digest, number in first.items()
                if digest not in slot_of and digest not in broken
            }
            if missing or not self._pixels.exists():
                self._make_room(used + len(missing))
                slot_of |= self._decode(missing, decode, used, broken, threads, track)
        slots = np.array([slot_of.get(digest, 0) for digest in digests], np.int64)
        why = {n: broken[digest] for n, digest in enumerate(digests) if digest in broken}
        return Pixels(self._map(), slots), why

    @property
    def _pixels(self) -> Path:
        return self.folder / "pixels.u8"

    @property
    def _index(self) -> Path:
        return self.folder / "index"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder for this process; wait where another one fills it."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _sound(self, wanted: set[str], threads: int) -> tuple[dict[str, int], int]:
        """Slots of the pictures that are wanted, there and whole; and how many slots are used."""
        records, used = {}, 1  # slot 0 is white
        content = self._index.read_bytes() if self._index.exists() else b""
        whole = len(content) - len(content) % RECORD.size  # half a record: an interrupt
        for digest, slot, crc in RECORD.iter_unpack(content[:whole]):
            records[digest.hex()] = slot, crc
            used = max(used, slot + 1)
        if not self._pixels.exists():
            return {}, 1
        slots = self._map()

        def fits(item: tuple[str, tuple[int, int]]) -> bool:
            slot, crc = item[1]
            return slot < len(slots) and zlib.crc32(slots[slot]) == crc

        asked = [(digest, records[digest]) for digest in wanted if digest in records]
        with ThreadPoolExecutor(threads) as pool:
            good = list(pool.map(fits, asked))
        sound = {digest: slot for (digest, (slot, _)), ok in zip(asked, good, strict=True) if ok}
        return sound, used

    def _broken(self) -> dict[str, str]:
        file = self.folder / "broken.json"
        return dict(read_json(file)) if file.exists() else {}

    def _make_room(self, slots: int) -> None:
        """Take the space of all slots beforehand: a disk that runs full would end the process."""
        there = self._pixels.stat().st_size if self._pixels.exists() else 0
        wanted = slots * self._bytes
        free = shutil.disk_usage(self.folder).free - KEPT_FREE_BYTES
        if wanted - there > free:
            raise DataError(
                f"the disk does not hold the decoded pictures ({self.folder})",
                expected=f"{(wanted - there + KEPT_FREE_BYTES) / 2**30:.1f} GB free",
                got=f"{(free + KEPT_FREE_BYTES) / 2**30:.1f} GB",
                remedy="Put the cache elsewhere with --cache, or take a smaller --image-size.",
            )
        self._pixels.touch()
        with self._pixels.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, wanted)
            except OSError as error:
                raise DataError(
                    f"{self._pixels} cannot grow to {wanted:,} bytes: {error.strerror}",
                    remedy="Put the cache elsewhere with --cache.",
                ) from error
            os.pwrite(stream.fileno(), bytes([WHITE]) * self._bytes, 0)

    def _decode(
        self,
        missing: dict[str, int],
        decode: Decode,
        used: int,
        broken: dict[str, str],
        threads: int,
        track: Track,
    ) -> dict[str, int]:
        """Decode into new slots, and note each when its pixels are there."""
        slots = {digest: used + place for place, digest in enumerate(missing)}
        made: dict[str, int] = {}

        def one(digest: str) -> tuple[str, Picture | str]:
            try:
                return digest, decode(missing[digest])
            except AugrankError as error:
                return digest, str(error)

        def all_of_them() -> Iterator[None]:
            for digest, result in pool.map(one, missing):
                if isinstance(result, str):
                    broken[digest] = result
                else:
                    os.pwrite(pixels.fileno(), result.data, slots[digest] * self._bytes)
                    index.write(
                        RECORD.pack(bytes.fromhex(digest), slots[digest], zlib.crc32(result.data))
                    )
                    made[digest] = slots[digest]
                yield None

        self._drop_half_a_record()
        with (
            self._pixels.open("r+b") as pixels,
            self._index.open("ab", buffering=0) as index,
            ThreadPoolExecutor(threads) as pool,
        ):
            try:
                for _ in track(all_of_them(), len(missing)):
                    pass
            except BaseException:  # an interrupt: do not decode what still waits
                pool.shutdown(cancel_futures=True)
                raise
        if broken:
            write_json(self.folder / "broken.json", broken)
        return made

    def _drop_half_a_record(self) -> None:
        if self._index.exists():
            size = self._index.stat().st_size
            os.truncate(self._index, size - size % RECORD.size)

    def _map(self) -> NDArray[np.uint8]:
        count = self._pixels.stat().st_size // self._bytes
        return np.memmap(self._pixels, np.uint8, "r", shape=(count, self._size, self._size, 3))
