"""State of a call of the image store: digests, pixel records and errors of its files."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.image_cache.records import Record, Records

Read = Callable[[int], tuple[str, bytes]]  # from a file's number to its sha256 and bytes


class UnreadableFile(Exception):
    """A file cannot be read now. The error is not cached: another call tries again."""


@dataclass
class FileIndex:
    """The files of one call, by number, and what is known about their contents, by digest."""

    digests: list[str | None]  # sha256, by number
    broken: dict[str, str]  # errors of files that cannot be decoded, by digest
    indexed: dict[str, list[Record]]  # records of the store's index, by digest; not yet validated
    records: Records = field(default_factory=dict)  # validated
    unreadable: dict[int | str, str] = field(default_factory=dict)  # errors, by number and digest

    def missing(self) -> list[int]:
        """Return the files to read: the first of each digest without pixels, all without digest."""
        first = dict[int | str, int]()
        for number, digest in enumerate(self.digests):
            settled = digest in self.records or digest in self.broken or number in self.unreadable
            if not settled:
                first.setdefault(digest or number, number)
        return list(first.values())

    def read(self, number: int, read: Read) -> tuple[str, bytes]:
        """Return a file's sha256 and bytes.

        Raises:
            UnreadableFile: it cannot be read, or its digest is no longer the expected one.
        """
        try:
            digest, content = read(number)
        except MemoryError as error:
            raise UnreadableFile("there is not enough memory to read it") from error
        if self.digests[number] not in (None, digest):
            raise UnreadableFile("the file changed while it was being read")
        return digest, content

    def mark_unreadable(self, number: int, reason: UnreadableFile) -> None:
        """Record that a file and others of the same expected digest cannot be read."""
        self.unreadable[number] = str(reason)
        if digest := self.digests[number]:
            self.unreadable[digest] = str(reason)

    def slots(self) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the slot of every file, or 0, and the error of each file without one, by number.

        Every file must have been read by now.
        """
        slots, errors = np.zeros(len(self.digests), np.int64), dict[int, str]()
        for number, digest in enumerate(self.digests):
            if number in self.unreadable or digest is None:
                errors[number] = self.unreadable[number]
            elif digest in self.records:
                slots[number] = self.records[digest].slot
            else:
                errors[number] = self.broken.get(digest) or self.unreadable[digest]
        return slots, errors
