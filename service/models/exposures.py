"""Note which advertiser got which model's answer for a picture: what fixes are counted against.

Requests only add to a set in memory; a thread writes it every second. What a crash loses are
counts of one second, and no answer waits for it.
"""

import logging
import threading
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.database.session import Database, insert_missing
from service.database.tables import Exposure, Model, PastExposure, Picture, Promotion
from service.models.registry import LIVE

log = logging.getLogger("augrank.service")
MOST_WAITING, MOST_KNOWN = 100_000, 500_000  # that are held in memory
CHUNK = 500  # rows of a statement
KEEP = timedelta(days=90)
Key = tuple[str, str, int]  # model, advertiser, picture


class Exposures:
    """What was answered. Thread-safe.

    Args:
        database: that keeps it.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._lock = database, threading.Lock()
        self._waiting: dict[Key, datetime] = {}
        self._known: set[Key] = set()

    def note(self, advertiser: str, models: Mapping[int, str]) -> None:
        """Note an answer.

        Args:
            advertiser: who got it.
            models: digest of the model that answered, by picture.
        """
        keys = {(model, advertiser, picture) for picture, model in models.items()}
        if keys <= self._known:
            return
        now = datetime.now(UTC)
        with self._lock:
            for key in keys - self._known:
                if len(self._waiting) < MOST_WAITING:
                    self._waiting.setdefault(key, now)

    def flush(self) -> int:
        """Write what was noted; return how many rows."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if not waiting:
            return 0
        # Every transaction locks pictures, and rows, in this order: no deadlock.
        keys = sorted(waiting, key=lambda key: (key[2], key[1], key[0]))
        first = _first(waiting)
        try:
            for start in range(0, len(keys), CHUNK):
                part = keys[start : start + CHUNK]
                with self._database.writes() as session:
                    _insert(session, {key: waiting[key] for key in part}, first)
        except BaseException:
            with self._lock:
                self._waiting = {**waiting, **self._waiting}  # twice is once
            raise
        with self._lock:
            if len(self._known) + len(keys) > MOST_KNOWN:
                self._known = set()
            self._known.update(keys)
        return len(keys)

    def trim(self) -> None:
        """Remove what is old, and what models before the last two have answered.

        The first answer about a picture stays, as long as the picture: it says that an advertiser
        has met it, to whom it would be new otherwise under a later model. What was counted of
        pictures that were forgotten stays as long as its model is compared.
        """
        again = delete(Exposure).where(Exposure.is_new.is_(False))
        with self._database.writes() as session:
            session.execute(again.where(Exposure.at < datetime.now(UTC) - KEEP))
            if needed := _compared(session):
                session.execute(again.where(Exposure.model.not_in(needed)))
                session.execute(delete(PastExposure).where(PastExposure.model.not_in(needed)))


def _first(waiting: Mapping[Key, datetime]) -> set[Key]:
    """Return what was answered first of each advertiser's picture: several models may wait."""
    found: dict[tuple[str, int], Key] = {}
    for key in sorted(waiting, key=lambda key: (waiting[key], key)):
        found.setdefault(key[1:], key)
    return set(found.values())


def _insert(session: Session, keys: Mapping[Key, datetime], first: Set[Key]) -> None:
    """Write what was answered.

    Args:
        session: that writes.
        keys: when, in the order in which they are written.
        first: those before which nothing else waits.
    """
    models = sorted({*session.scalars(select(Model.digest)), *(key[0] for key in keys)})
    answered: dict[tuple[str, int], set[str]] = {}
    for advertiser in sorted({key[1] for key in keys}):
        pictures = sorted({key[2] for key in keys if key[1] == advertiser})
        seen = session.execute(
            select(Exposure.picture_id, Exposure.model).where(
                Exposure.model.in_(models),
                Exposure.advertiser == advertiser,
                Exposure.picture_id.in_(pictures),
                Exposure.is_new,
            )
        )
        for picture, model in seen:
            answered.setdefault((advertiser, picture), set()).add(model)
    shown = sorted({key[2] for key in keys})
    there = set(session.scalars(select(Picture.id).where(Picture.id.in_(shown))))
    rows = [
        _row(key, at, is_new=key in first and not answered.get(key[1:], set()) - {key[0]})
        for key, at in keys.items()
        if key[2] in there
    ]
    if rows:
        insert_missing(session, Exposure, rows)


def _row(key: Key, at: datetime, *, is_new: bool) -> dict[str, object]:
    model, advertiser, picture = key
    return {
        "model": model,
        "advertiser": advertiser,
        "picture_id": picture,
        "at": at,
        "day": f"{at:%Y-%m-%d}",
        "is_new": is_new,
    }


def _compared(session: Session) -> Sequence[str]:
    """Return the digests of the live models and of those before them."""
    found: set[str] = set()
    for live in session.scalars(select(Model).where(Model.state == LIVE)):
        found.add(live.digest)
        last = session.scalar(
            select(Promotion).where(Promotion.after_id == live.id).order_by(Promotion.id.desc())
        )
        before = session.get(Model, last.before_id) if last and last.before_id else None
        found |= {before.digest} if before else set()
    return sorted(found)
