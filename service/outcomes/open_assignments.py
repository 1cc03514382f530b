"""Bound the assignments of an advertiser without outcomes: each keeps its image for good.

They are counted now and then, so that an assignment needs no count of thousands of rows: several
processes together may go beyond the limit by ``COUNT_AFTER`` each.
"""

import math
import threading
import time

from cachetools import LRUCache
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from service.database.tables import Assignment, Outcome
from service.errors import TooManyRequests

COUNT_AFTER = 500  # further assignments
COUNT_AGAIN_S = 10.0  # after the limit was reached
MAX_REMEMBERED = 10_000  # advertisers


class OpenAssignments:
    """Lets an advertiser have so many assignments without outcomes. Thread-safe.

    Args:
        most: of one advertiser.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._left: LRUCache[str, int] = LRUCache(MAX_REMEMBERED)  # until they are counted
        self._full_until: LRUCache[str, float] = LRUCache(MAX_REMEMBERED)

    def take(self, session: Session, advertiser: str) -> None:
        """Let an advertiser have another assignment.

        Raises:
            TooManyRequests: as many have no outcome as may be.
        """
        with self._lock:
            left, wait_s = self._left.get(advertiser, 0), self._wait_s(advertiser)
            if left > 0:
                self._left[advertiser] = left - 1
        if wait_s > 0:
            raise self._too_many(advertiser, wait_s)
        if left > 0:
            return
        left = min(COUNT_AFTER, self._most - self._count(session, advertiser))
        with self._lock:
            self._left[advertiser] = max(0, left - 1)
            if left <= 0:
                self._full_until[advertiser] = time.monotonic() + COUNT_AGAIN_S
        if left <= 0:
            raise self._too_many(advertiser, COUNT_AGAIN_S)

    def _wait_s(self, advertiser: str) -> float:
        return float(self._full_until.get(advertiser, 0.0)) - time.monotonic()

    def _count(self, session: Session, advertiser: str) -> int:
        """Return how many have no outcome, up to the limit."""
        reported = exists().where(Outcome.assignment_id == Assignment.id)
        found = select(Assignment.id).where(Assignment.advertiser == advertiser, ~reported)
        limited = found.limit(self._most).subquery()
        return session.scalar(select(func.count()).select_from(limited)) or 0

    def _too_many(self, advertiser: str, wait_s: float) -> TooManyRequests:
        return TooManyRequests(
            f"too many assignments of {advertiser} have no outcome",
            expected=f"at most {self._most:,}",
            remedy="Report what came of earlier ones, 0 of 0 trials too: POST /v1/outcomes.",
            retry_after_s=math.ceil(wait_s),
        )
