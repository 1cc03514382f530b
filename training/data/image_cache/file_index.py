"""What a call of the store knows of its files: digests, places of pixels, why one has none."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.image_cache.records import Place, Places

Read = Callable[[int], tuple[str, bytes]]  # from a file's number to its sha256 and bytes


class Unreadable(Exception):
    """A file cannot be read at this moment: nothing is kept of it, so another call tries again."""


@dataclass
class KnownImages:
    """What is known of the files so far."""

    digests: list[str | None]  # by number
    broken: dict[str, str]  # why, by digest
    noted: dict[str, list[Place]]  # in the index, by digest
    places: Places = field(default_factory=dict)  # of which the pixels fit
    unread: dict[int | str, str] = field(default_factory=dict)  # why, by number and digest

    def to_read(self) -> list[int]:
        """Numbers: the first one of each digest that has no pixels; all without a digest."""
        first = dict[int | str, int]()
        for number, digest in enumerate(self.digests):
            decided = digest in self.places or digest in self.broken or number in self.unread
            if not decided:
                first.setdefault(digest or number, number)
        return list(first.values())

    def read(self, number: int, read: Read) -> tuple[str, bytes]:
        """A file's sha256 and bytes; raises Unreadable, also where it is no longer what it was."""
        try:
            digest, content = read(number)
        except MemoryError as error:
            raise Unreadable("there is not enough memory to read it") from error
        if self.digests[number] not in (None, digest):
            raise Unreadable("the file was written while it was read")
        return digest, content

    def cannot(self, number: int, reason: Unreadable) -> None:
        """A file cannot be read now, nor others then that should be the same."""
        self.unread[number] = str(reason)
        if digest := self.digests[number]:
            self.unread[digest] = str(reason)

    def found(self) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Slots by number, 0 where a file has none, and then why; all have been read by now."""
        slot, why = np.zeros(len(self.digests), np.int64), dict[int, str]()
        for number, digest in enumerate(self.digests):
            if number in self.unread or digest is None:
                why[number] = self.unread[number]
            elif digest in self.places:
                slot[number] = self.places[digest][0]
            else:
                why[number] = self.broken.get(digest) or self.unread[digest]
        return slot, why
