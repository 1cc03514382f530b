"""The cache of decoded images: uint8, by content, each decoded once for all epochs and runs.

    CACHE/96px-1a2b3c4d/pixels.u8    slots of 96 x 96 x 3 bytes, memory-mapped; slot 0 is white
    CACHE/96px-1a2b3c4d/index        a record for each image: sha256, slot, CRC of its pixels
    CACHE/96px-1a2b3c4d/broken.json  errors of files without pixels, by sha256
    CACHE/96px-1a2b3c4d/lock         held by the process that fills it; its time is the last use

A record is written after its pixels, so an interrupt leaves complete images and the next call
decodes the others. Pixels are compared with their CRC before they are used; a slot that does not
match is decoded again. The folder's name holds the size and a hash of the decoder: a different
decoder gets its own folder. One process fills a folder at a time; others wait for it.

A file of unknown digest is read once: its bytes are hashed, looked up, and decoded if they
are new. Space is reserved as if all such files were new; if there is not enough, they are hashed
first, so that nothing is evicted or rejected for images that are already cached.

If new images would exceed the cache's quota, or the disk, other folders are evicted, the least
recently used (LRU) first; then this folder is rewritten without the images that this call does not
need.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from augrank.errors import DataError
from augrank.files import write_json
from augrank.images.decode import DECODE_VERSION, RgbImage
from training.data.image_cache.file_index import FileIndex
from training.data.image_cache.quota import (
    BROKEN,
    GB,
    Say,
    available_bytes,
    cache_disk_errors,
    evict_lru,
    lock,
    no_op,
    others_bytes,
    read_metadata,
    reserved_bytes,
    size_text,
)
from training.data.image_cache.reader import (
    FileDecoder,
    FileReader,
    hash_files,
    note_decoded,
)
from training.data.image_cache.records import ImageSlots, Record, valid_record

CHECK_BATCH = 64  # images that a thread checks at a time


@dataclass(frozen=True)
class Pixels:
    """Images by number, in any slot of the store: indexed like uint8 (N, S, S, 3)."""

    slots: NDArray[np.uint8]  # (slots, S, S, 3), memory-mapped
    slot: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.slot)

    def __getitem__(self, number: int | np.integer) -> RgbImage:
        image: RgbImage = self.slots[self.slot[number]]
        return image

    @property
    def side(self) -> int:
        """The side of the square images, in pixels."""
        return int(self.slots.shape[1])


@dataclass(frozen=True)
class FillResult:
    """The images of a call of ``fill``, by number of the file."""

    pixels: Pixels  # white where a file has none
    digests: tuple[str, ...]  # sha256; empty where a file could not be read
    errors: dict[int, str]  # errors of files without pixels


def decoder() -> str:
    """Return the versions that decide which pixels a file decodes to."""
    return f"decode {DECODE_VERSION} cv2 {cv2.__version__} pillow {PIL.__version__}"


class ImageStore:
    """The folder of decoded images of one size and decoder.

    Args:
        cache: folder of all sizes and decoders; processes may share it.
        size: side of the images, in pixels.
        limit_gb: quota of decoded images of all sizes, in GB.
        say: receives messages about waiting and eviction.
    """

    def __init__(
        self, cache: Path, size: int, limit_gb: float = math.inf, say: Say = no_op
    ) -> None:
        key = hashlib.sha256(decoder().encode()).hexdigest()[:8]
        self.folder, self._size = cache / f"{size}px-{key}", size
        self._slots, self._limit_bytes = ImageSlots(self.folder, size), limit_gb * GB
        self._say = say

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder in this block; other processes wait."""
        with lock(self.folder, self._say):
            with cache_disk_errors(self.folder):
                self._slots.remove_partial()
            yield

    def fill(
        self, digests: Sequence[str | None], files: FileReader, *, checked: bool = False
    ) -> FillResult:
        """Decode the images that are not in the store, and return all. The folder must be locked.

        Args:
            digests: sha256 of each file; None where it is not known.
            files: reads and decodes them.
            checked: another process has just compared these pixels with their checksums.

        Raises:
            DataError: they do not fit on the disk or in the quota.
        """
        unknown = [number for number, digest in enumerate(digests) if digest is None]
        wanted = None if unknown else {digest for digest in digests if digest}
        indexed, used = self._slots.read_index(wanted)
        index = FileIndex([*digests], read_metadata(self.folder / BROKEN), indexed)
        self._validate(index, files, trusting=checked)
        if unknown and not self._fits(used + len(index.missing())):
            hash_files(index, unknown, files)
            self._validate(index, files, trusting=False)
        numbers = index.missing()
        if numbers or not len(self._slots):
            used = self._make_room(index, used, len(numbers))
            self._reserve(used + len(numbers))
            used = self._decode(index, numbers, used, files)
            self._slots.truncate(used)
        pixels = self._slots.memmap()  # before another process replaces them
        slots, errors = index.slots()
        return FillResult(
            Pixels(pixels, slots), tuple(digest or "" for digest in index.digests), errors
        )

    def _validate(self, index: FileIndex, files: FileReader, *, trusting: bool) -> None:
        """Find the images of known digest whose pixels match their checksums.

        Args:
            index: receives their records.
            files: gives threads and shows progress.
            trusting: accept the only record of an image without comparing its checksum.
        """
        wanted = set(index.digests) - {None, *index.records}
        candidates = [digest for digest in index.indexed if digest in wanted]
        if not candidates:
            return
        slots = self._slots.memmap()

        def validate(batch: Sequence[str]) -> list[tuple[str, Record | None]]:
            return [(digest, validate_one(index.indexed[digest])) for digest in batch]

        def validate_one(records: Sequence[Record]) -> Record | None:
            trusted = trusting and len(records) == 1
            return records[0] if trusted else valid_record(records, slots)

        starts = range(0, len(candidates), CHECK_BATCH)
        batches = [candidates[start : start + CHECK_BATCH] for start in starts]
        with files.prefetch(validate, batches) as validated:
            results = (result for batch in validated for result in batch)
            for digest, record in files.track(results, len(candidates), "Checking"):
                if record is not None:
                    index.records[digest] = record

    def _fits(self, slots: int) -> bool:
        """Return whether this many slots in total fit in the quota and on the disk."""
        existing, slot_bytes = len(self._slots), self._slots.slot_bytes
        own = max(existing, slots) * slot_bytes
        if own + others_bytes(self.folder) > self._limit_bytes:
            return False
        return (slots - existing) * slot_bytes <= max(0, available_bytes(self.folder))

    def _make_room(self, index: FileIndex, used: int, new: int) -> int:
        """Evict unneeded images if new ones would exceed the quota or the disk.

        Args:
            index: has the records of the wanted images in the store; gets new ones if the
                folder is compacted.
            used: slots in use.
            new: number of images to add.

        Returns:
            The number of slots in use afterwards.

        Raises:
            DataError: the wanted images alone exceed the quota or the disk.
        """
        slot_bytes, least = self._slots.slot_bytes, 1 + len(index.records) + new
        self._check_quota(least)
        existing, slots = len(self._slots), max(len(self._slots), used + new)
        limit = self._limit_bytes
        if slots > existing:
            evictable = existing * slot_bytes + others_bytes(self.folder)
            self._check_disk(least * slot_bytes - evictable)
            limit = min(limit, available_bytes(self.folder) + evictable)
        total = evict_lru(self.folder, slots * slot_bytes, limit, say=self._say)
        if total <= limit or slots == least:
            return used
        self._say(f"The cache is full: rewriting {self.folder} without images that are not used")
        self._check_disk((1 + len(index.records)) * self._slots.image_bytes)
        index.records = self._slots.compact(index.records)
        index.indexed = {digest: [record] for digest, record in index.records.items()}
        return 1 + len(index.records)

    def _check_quota(self, slots: int) -> None:
        """Raise DataError if this many slots exceed the quota."""
        size_bytes = slots * self._slots.slot_bytes
        if size_bytes > self._limit_bytes:
            raise DataError(
                f"the decoded images exceed the cache's quota ({self.folder.parent})",
                expected=f"at most {size_text(self._limit_bytes)}",
                got=f"{size_text(size_bytes, up=True)}, {slots - 1:,} images of {self._size} px",
                remedy=f"Give --cache-gb {math.ceil(size_bytes / GB)}, or choose a smaller "
                "--image-size.",
            )

    def _reserve(self, slots: int) -> None:
        """Allocate the disk space of all slots."""
        if slots > len(self._slots):
            self._check_disk((slots - len(self._slots)) * self._slots.image_bytes)
        self._slots.reserve(slots)

    def _check_disk(self, wanted_bytes: int) -> None:
        """Raise DataError if the disk lacks this many bytes for the cache."""
        available, reserved = available_bytes(self.folder), reserved_bytes(self.folder)
        if wanted_bytes > available:
            raise DataError(
                f"the decoded images do not fit on the disk ({self.folder})",
                expected=f"{size_text(wanted_bytes + reserved, up=True)} free, of which "
                f"{size_text(reserved)} stay free",
                got=size_text(available + reserved),
                remedy=f"Free space beside {self.folder.parent} (its older folders are evicted "
                "automatically), put the cache elsewhere with --cache, or choose a smaller "
                "--image-size.",
            )

    def _decode(
        self, index: FileIndex, numbers: Sequence[int], used: int, files: FileReader
    ) -> int:
        """Read files, decode the new ones, and index each image once its pixels are written.

        Returns:
            The number of slots in use afterwards.
        """
        decode = FileDecoder(index, files, self._slots.memmap())
        broken_before = len(index.broken)
        try:
            with files.prefetch(decode, numbers) as decoded, self._slots.writer() as write:
                for made in files.track(decoded, len(numbers), "Decoding"):
                    if made.image is not None and made.digest is not None:
                        record = Record(used, made.crc32)
                        write(made.digest, record, made.image)
                        index.records[made.digest], used = record, used + 1
                    note_decoded(index, made)
        finally:
            if len(index.broken) > broken_before:
                with cache_disk_errors(self.folder):
                    write_json(self.folder / BROKEN, index.broken)
        return used
