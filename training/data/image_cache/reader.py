"""Read, hash and decode files in threads, and record the results in the call's index."""

import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from augrank.errors import AugrankError
from augrank.images.decode import RgbImage
from training.common.prefetch import prefetch
from training.data.image_cache.file_index import FileIndex, Read, UnreadableFile
from training.data.image_cache.records import Record, valid_record

Item = TypeVar("Item")
Result = TypeVar("Result")
Decode = Callable[[bytes], RgbImage]


class Track(Protocol):
    """Shows the progress over ``count`` items under a title."""

    def __call__(self, items: Iterable[Item], count: int, title: str) -> Iterable[Item]:  # noqa: D102
        ...


@dataclass(frozen=True)
class FileReader:
    """Functions that read and decode files, and how many at a time.

    Args:
        read: from a file's number to its sha256 and bytes; raises UnreadableFile.
        decode: from bytes to pixels, uint8 (S, S, 3); raises AugrankError if they are broken.
        threads: number of files at a time.
        track: shows progress.
    """

    read: Read
    decode: Decode
    threads: int
    track: Track

    def prefetch(
        self, make: Callable[[Item], Result], items: Sequence[Item]
    ) -> "closing[Generator[Result, None, None]]":
        """Call ``make`` in threads and return the results, in order.

        Use it in a ``with`` statement: an interrupt then cancels what is still waiting.
        """

        def results() -> Generator[Result, None, None]:
            yield from prefetch(make, items, self.threads)

        return closing(results())


@dataclass(frozen=True)
class DecodedFile:
    """A thread's result for one file."""

    number: int
    digest: str | None = None
    record: Record | None = None  # of pixels that are in the store already
    image: RgbImage | None = None
    crc32: int = 0  # of the image
    error: AugrankError | UnreadableFile | None = None


class FileDecoder:
    """Reads and decodes one file; called by several threads.

    Args:
        index: the state of the call, shared by all threads.
        files: reads and decodes them.
        slots: the store's pixels, uint8 (slots, S, S, 3).
    """

    def __init__(self, index: FileIndex, files: FileReader, slots: NDArray[np.uint8]) -> None:
        self._index, self._files, self._slots = index, files, slots
        self._first: dict[str, int] = {}  # the file that decodes a digest: others are copies

    def __call__(self, number: int) -> DecodedFile:
        """Read a file, and decode it unless its pixels are in the store or being decoded."""
        try:
            digest, content = self._index.read(number, self._files.read)
        except UnreadableFile as error:
            return DecodedFile(number, self._index.digests[number], error=error)
        try:
            return self._decode(number, digest, content)
        except AugrankError as error:
            return DecodedFile(number, digest, error=error)
        except MemoryError:
            reason = UnreadableFile("there is not enough memory to decode it")
            return DecodedFile(number, digest, error=reason)

    def _decode(self, number: int, digest: str, content: bytes) -> DecodedFile:
        index = self._index
        if digest in index.records or digest in index.broken:
            return DecodedFile(number, digest)
        if self._first.setdefault(digest, number) != number:
            return DecodedFile(number, digest)
        record = valid_record(index.indexed.get(digest, ()), self._slots)
        if record is not None:
            return DecodedFile(number, digest, record)
        image = self._files.decode(content)
        return DecodedFile(number, digest, image=image, crc32=zlib.crc32(image.data))


def note_decoded(index: FileIndex, decoded: DecodedFile) -> None:
    """Record a file's digest, its pixels' record if the store had them, or its error."""
    index.digests[decoded.number] = digest = decoded.digest
    if isinstance(decoded.error, UnreadableFile):
        index.mark_unreadable(decoded.number, decoded.error)
    elif digest is not None and decoded.error is not None:
        index.broken[digest] = str(decoded.error)
    elif digest is not None and decoded.record is not None:
        index.records[digest] = decoded.record


def hash_files(index: FileIndex, numbers: Sequence[int], files: FileReader) -> None:
    """Record the digests of files, or their errors."""

    def digest_of(number: int) -> str | UnreadableFile:
        try:
            return index.read(number, files.read)[0]
        except UnreadableFile as error:
            return error

    with files.prefetch(digest_of, numbers) as digests:
        tracked = files.track(digests, len(numbers), "Hashing")
        for number, result in zip(numbers, tracked, strict=True):
            if isinstance(result, UnreadableFile):
                index.mark_unreadable(number, result)
            else:
                index.digests[number] = result
