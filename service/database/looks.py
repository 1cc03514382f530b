"""The hashes of all pictures, in memory, among which those that look like an image are found.

Every picture is compared: 16 to 32 MB and 3 ms for a million. Bands of bits in a table, of
which one at least agrees, would give a query a share of all pictures, and each picture nine more
rows.
"""

import threading
from collections.abc import Sequence

import numpy as np
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from augrank.images.look import MAX_DISTANCE
from service.database.tables import Picture

FIRST_ROOM, CHUNK = 1024, 20_000  # pictures: room at first, read at once

_PICTURE = Picture.__table__.c
NEXT = (
    select(_PICTURE.id, _PICTURE.look_hash)
    .where(_PICTURE.id > bindparam("last"))
    .order_by(_PICTURE.id)
    .limit(CHUNK)
)


class LookIndex:
    """Ids and hashes of the pictures of a database. Thread-safe.

    Pictures are added one transaction after the other with ids that grow, so that those after the
    last one are all that is new. Others may refresh it at any time: a session sees what it has
    up to the id that the session's own ``refresh`` returned. One that another process has removed
    is named until somebody tells (``forget``).
    """

    def __init__(self) -> None:
        self._ids = np.empty(FIRST_ROOM, np.int64)
        self._hashes = np.empty(FIRST_ROOM, np.uint64)
        self._count, self._lock = 0, threading.Lock()

    def refresh(self, session: Session) -> int:
        """Read the pictures that were added since; return the id of the last one, or 0.

        Args:
            session: a new one, which sees all that others have committed, or one that holds the
                lock of those who add. It has added none itself: they might never be committed.
        """
        session.connection()  # who waits for one must not hold the lock
        with self._lock:
            while self._read_more(session):
                pass
            return self._last

    @property
    def _last(self) -> int:
        return int(self._ids[self._count - 1]) if self._count else 0

    def _read_more(self, session: Session) -> bool:
        """Read some pictures; return whether there may be more."""
        rows = session.execute(NEXT, {"last": self._last}).all()
        self._make_room(self._count + len(rows))
        added = slice(self._count, self._count + len(rows))
        self._ids[added] = [row.id for row in rows]
        self._hashes[added] = [int(row.look_hash, 16) for row in rows]
        self._count = added.stop
        return len(rows) == CHUNK

    def near(self, look_hash: np.uint64, after: int, up_to: int) -> list[int]:
        """Return the ids of pictures whose hash differs little, in order.

        Args:
            look_hash: of an image.
            after: only pictures with a higher id.
            up_to: only pictures with this id or a lower one.
        """
        with self._lock:
            ids, hashes = self._ids[: self._count], self._hashes[: self._count]
        first, end = np.searchsorted(ids, (after, up_to), side="right")
        apart = np.bitwise_count(hashes[first:end] ^ look_hash)
        return [int(each) for each in ids[first:end][apart <= MAX_DISTANCE]]

    def forget(self, pictures: Sequence[int]) -> None:
        """Take out pictures that were removed."""
        with self._lock:
            ids, hashes = self._ids[: self._count], self._hashes[: self._count]
            left = ~np.isin(ids, pictures)
            # New arrays: others may be reading the old ones.
            self._ids, self._hashes = ids[left], hashes[left]
            self._count = len(self._ids)

    def _make_room(self, count: int) -> None:
        if count > len(self._ids):
            room = max(count, 2 * len(self._ids))
            # New arrays: others may be reading the old ones.
            self._ids, self._hashes = np.resize(self._ids, room), np.resize(self._hashes, room)
