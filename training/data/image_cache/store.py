"""Decoded images on disk: uint8, by content, each decoded once for all epochs and runs.

    CACHE/96px-1a2b3c4d/pixels.u8    slots of 96 x 96 x 3 bytes, memory-mapped; slot 0 is white
    CACHE/96px-1a2b3c4d/index        a record for each image: sha256, slot, CRC of its pixels
    CACHE/96px-1a2b3c4d/broken.json  why a file has no pixels, by sha256
    CACHE/96px-1a2b3c4d/lock         held by the process that fills; its time says the last use

A record is written after its pixels, so what an interrupt leaves is whole and the next call goes on
with what is missing. Pixels are held against their CRC before they are used; a slot that does not
fit is decoded again. The folder's name says the size and what decodes: another decoder has another
folder. One process fills a folder at a time; others wait for it.

A file whose digest is not known is read once: its bytes are hashed, looked up, and decoded where
they are new. Room is taken beforehand as if all such files were; where that much is not free, they
are hashed first, so that nothing is removed or refused but for images that are to come.

Where new images would pass the limit of the cache, or the disk, other folders are emptied, the
least recently used first, and then the folder is rewritten without the images that nobody asked
for.
"""

import hashlib
import math
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from augrank.errors import AugrankError, DataError
from augrank.files import write_json
from augrank.images.decode import DECODE_VERSION, RgbImage
from training.common.prefetch import prefetch
from training.data.image_cache.file_index import KnownImages, Read, Unreadable
from training.data.image_cache.quota import (
    BROKEN,
    GB,
    Say,
    alone,
    emptied_within,
    kept_free_bytes,
    noted,
    others_bytes,
    room_bytes,
    size_text,
    unsaid,
    writing,
)
from training.data.image_cache.records import ImageSlots, Place, that_fits

Decode = Callable[[bytes], RgbImage]
Track = Callable[[Iterable[None], int, str], Iterable[None]]
GROUP = 64  # images that a thread checks at a time


@dataclass(frozen=True)
class Pixels:
    """Images by number, wherever they stand in the store: reads like uint8 (N, S, S, 3)."""

    slots: NDArray[np.uint8]  # (slots, S, S, 3), memory-mapped
    slot: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.slot)

    def __getitem__(self, number: int | np.integer) -> RgbImage:
        image: RgbImage = self.slots[self.slot[number]]
        return image

    @property
    def side(self) -> int:
        """Of the square images."""
        return int(self.slots.shape[1])


@dataclass(frozen=True)
class Filled:
    """What a call of ``fill`` gives, by number of the file."""

    pixels: Pixels  # white where a file has none
    digests: tuple[str, ...]  # sha256; empty where a file could not be read
    why: dict[int, str]  # a file has none


@dataclass(frozen=True)
class _Made:
    """What a thread made of a file."""

    number: int
    digest: str | None = None
    place: Place | None = None  # where the pixels are already
    image: RgbImage | None = None
    crc: int = 0
    error: AugrankError | Unreadable | None = None


def decoder() -> str:
    """What decides the pixels of a file."""
    return f"decode {DECODE_VERSION} cv2 {cv2.__version__} pillow {PIL.__version__}"


class ImageStore:
    """The folder of one size and decoder.

    Args:
        cache: folder of all sizes and decoders; processes may share it.
        size: side of the images, in pixels.
        limit_gb: that decoded images of all sizes may take of the cache, in GB.
        say: told of waiting and of what is removed.
    """

    def __init__(
        self, cache: Path, size: int, limit_gb: float = math.inf, say: Say = unsaid
    ) -> None:
        key = hashlib.sha256(decoder().encode()).hexdigest()[:8]
        self.folder, self._size = cache / f"{size}px-{key}", size
        self._slots, self._limit_bytes = ImageSlots(self.folder, size), limit_gb * GB
        self._say = say

    @contextmanager
    def held(self) -> Iterator[None]:
        """Fill in this block; other processes wait."""
        with alone(self.folder, self._say):
            with writing(self.folder):
                self._slots.tidy()
            yield

    def fill(
        self,
        digests: Sequence[str | None],
        read: Read,
        decode: Decode,
        *,
        threads: int,
        track: Track,
        checked: bool = False,
    ) -> Filled:
        """Decode what is missing, and give all.

        Args:
            digests: sha256 of each file; None where it is not known.
            read: from a file's number to its sha256 and bytes; raises Unreadable.
            decode: from bytes to pixels, uint8 (S, S, 3); raises AugrankError where they are
                broken.
            threads: files at a time.
            track: shows progress over what is done, of so many, under a title.
            checked: another process has just held these pixels against their checksums.

        Raises:
            DataError: the disk or the limit does not hold them.
        """
        unknown = [number for number, digest in enumerate(digests) if digest is None]
        there, used = self._slots.noted(None if unknown else {name for name in digests if name})
        known = KnownImages([*digests], self._broken(), there)
        self._check(known, threads, track, trusting=checked)
        if unknown and not self._holds(used + len(known.to_read())):
            _hash(known, unknown, read, threads, track)
            self._check(known, threads, track, trusting=False)
        numbers = known.to_read()
        if numbers or not len(self._slots):
            used = self._keep_limit(known, used, len(numbers))
            self._make_room(used + len(numbers))
            used = self._decode(known, numbers, used, read, decode, threads, track)
            self._slots.cut(used)
        pixels = self._slots.mapped()  # before another process replaces them
        slot, why = known.found()
        return Filled(Pixels(pixels, slot), tuple(name or "" for name in known.digests), why)

    def _check(self, known: KnownImages, threads: int, track: Track, *, trusting: bool) -> None:
        """Note the places of images whose digests are known, where the pixels are whole.

        Args:
            known: gets the places.
            threads: at a time.
            track: shows progress.
            trusting: the only place that was noted of an image counts without a check.
        """
        wanted = set(known.digests) - {None, *known.places}
        there = [digest for digest in known.noted if digest in wanted]
        if not there:
            return
        slots = self._slots.mapped()

        def place(digest: str) -> Place | None:
            places = known.noted[digest]
            return places[0] if trusting and len(places) == 1 else that_fits(places, slots)

        def places(group: list[str]) -> list[tuple[str, Place | None]]:
            return [(digest, place(digest)) for digest in group]

        def all_of_them() -> Generator[None, None, None]:
            groups = [there[at : at + GROUP] for at in range(0, len(there), GROUP)]
            for group in prefetch(places, groups, threads):
                for digest, found in group:
                    if found is not None:
                        known.places[digest] = found
                    yield None

        _through(all_of_them(), len(there), "Checking", track)

    def _broken(self) -> dict[str, str]:
        return noted(self.folder / BROKEN)

    def _holds(self, slots: int) -> bool:
        """Whether limit and disk hold so many slots with all else that is there."""
        there, slot_bytes = len(self._slots), self._slots.slot_bytes
        own = max(there, slots) * slot_bytes
        if own + others_bytes(self.folder) > self._limit_bytes:
            return False
        return slots <= there or (slots - there) * slot_bytes <= room_bytes(self.folder)

    def _keep_limit(self, known: KnownImages, used: int, new: int) -> int:
        """Remove what is not wanted, as far as new images would pass limit or disk.

        Args:
            known: has the places of the images that are wanted and there; gets others where
                the folder is rewritten.
            used: slots.
            new: images to come.

        Returns:
            The slots that are used then.

        Raises:
            DataError: what is wanted passes the limit, or the disk, by itself.
        """
        slot_bytes, least = self._slots.slot_bytes, 1 + len(known.places) + new
        if least * slot_bytes > self._limit_bytes:
            raise DataError(
                f"the cache's limit does not hold the decoded images ({self.folder.parent})",
                expected=f"at most {size_text(self._limit_bytes)}",
                got=f"{size_text(least * slot_bytes, up=True)}, {least - 1:,} images of "
                f"{self._size} px",
                remedy=f"Give --cache-gb {math.ceil(least * slot_bytes / GB)}, or take a smaller "
                "--image-size.",
            )
        there, slots = len(self._slots), max(len(self._slots), used + new)
        limit = self._limit_bytes
        if slots > there:
            removable = there * slot_bytes + others_bytes(self.folder)
            self._need(least * slot_bytes - removable)
            limit = min(limit, room_bytes(self.folder) + removable)
        total = emptied_within(self.folder, slots * slot_bytes, limit, say=self._say)
        if total <= limit or slots == least:
            return used
        self._say(f"The cache is full: {self.folder} is rewritten without what is not asked for")
        self._need((1 + len(known.places)) * self._slots.image_bytes)
        known.places = self._slots.rewrite(known.places)
        known.noted = {digest: [place] for digest, place in known.places.items()}
        return 1 + len(known.places)

    def _make_room(self, slots: int) -> None:
        """Take the space of all slots beforehand."""
        if slots > len(self._slots):
            self._need((slots - len(self._slots)) * self._slots.image_bytes)
        self._slots.reserve(slots)

    def _need(self, wanted: int) -> None:
        """So many bytes of the disk."""
        room, kept = room_bytes(self.folder), kept_free_bytes(self.folder)
        if wanted > room:
            raise DataError(
                f"the disk does not hold the decoded images ({self.folder})",
                expected=f"{size_text(wanted + kept, up=True)} free, of which "
                f"{size_text(kept)} stay free",
                got=size_text(room + kept),
                remedy=f"Free space there beside {self.folder.parent}, whose older folders go by "
                "themselves, put the cache elsewhere with --cache, or take a smaller --image-size.",
            )

    def _decode(
        self,
        known: KnownImages,
        numbers: Sequence[int],
        used: int,
        read: Read,
        decode: Decode,
        threads: int,
        track: Track,
    ) -> int:
        """Read files and decode what is new, and note each image when its pixels are there.

        Returns:
            How many slots are used then.
        """
        slots, broken_before = self._slots.mapped(), len(known.broken)
        taken: dict[str, int] = {}  # by which file: of the same bytes under two names

        def one(number: int) -> _Made:
            try:
                digest, content = known.read(number, read)
            except Unreadable as error:
                return _Made(number, known.digests[number], error=error)
            try:
                others = digest in known.places or digest in known.broken
                if others or taken.setdefault(digest, number) != number:
                    return _Made(number, digest)
                place = that_fits(known.noted.get(digest, ()), slots)
                if place is not None:
                    return _Made(number, digest, place)
                image = decode(content)
                return _Made(number, digest, image=image, crc=zlib.crc32(image.data))
            except AugrankError as error:
                return _Made(number, digest, error=error)
            except MemoryError:
                lacking = Unreadable("there is not enough memory to decode it")
                return _Made(number, digest, error=lacking)

        def all_of_them() -> Generator[None, None, None]:
            nonlocal used
            with self._slots.adding() as add:
                for made in prefetch(one, numbers, threads):
                    known.digests[made.number] = digest = made.digest
                    if isinstance(made.error, Unreadable):
                        known.cannot(made.number, made.error)
                    elif digest is not None and made.error is not None:
                        known.broken[digest] = str(made.error)
                    elif digest is not None and made.place is not None:
                        known.places[digest] = made.place
                    elif digest is not None and made.image is not None:
                        place = used, made.crc
                        add(digest, place, made.image)
                        known.places[digest], used = place, used + 1
                    yield None

        try:
            _through(all_of_them(), len(numbers), "Decoding", track)
        finally:
            if len(known.broken) > broken_before:
                with writing(self.folder):
                    write_json(self.folder / BROKEN, known.broken)
        return used


def _hash(
    known: KnownImages, numbers: Sequence[int], read: Read, threads: int, track: Track
) -> None:
    """Note the digests of files, or why they have none."""

    def one(number: int) -> tuple[int, str | Unreadable]:
        try:
            return number, known.read(number, read)[0]
        except Unreadable as error:
            return number, error

    def all_of_them() -> Generator[None, None, None]:
        for number, result in prefetch(one, numbers, threads):
            if isinstance(result, Unreadable):
                known.cannot(number, result)
            else:
                known.digests[number] = result
            yield None

    _through(all_of_them(), len(numbers), "Hashing", track)


def _through(done: Generator[None, None, None], count: int, title: str, track: Track) -> None:
    with closing(done):  # an interrupt: do not make what still waits
        for _ in track(done, count, title):
            pass
