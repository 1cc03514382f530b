"""Forget pictures that nothing refers to any more, so that not all that was ever sent stays.

An answer, a fix, a confirmation, a question, an assignment and a known URL each keep their picture.
What is left are pictures whose answers made room for others long ago.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, insert, not_, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.database.session import Database
from service.database.tables import (
    Assignment,
    Exposure,
    Fix,
    PastExposure,
    Picture,
    Question,
    Review,
    Sighting,
    Source,
    StoredAnswer,
    StoredImage,
)

log = logging.getLogger("augrank.service")
LOOKED_AT = 2000  # pictures in a step
EXPOSURE = ("model", "advertiser", "at", "day")  # columns that outlive a picture
CHUNK = 500  # pictures that are removed in a transaction


class ForgottenPictures:
    """A walk over all pictures, some in each step, again and again.

    Args:
        database: of the pictures.
        after: a picture stays this long after the last new file or first answer of it.
        looked_at: pictures in a step.
    """

    def __init__(self, database: Database, after: timedelta, looked_at: int = LOOKED_AT) -> None:
        self._database, self._after, self._looked_at = database, after, looked_at
        self._place = 0  # id of the picture that was looked at last

    def step(self) -> int:
        """Look at the next pictures; return how many were removed.

        One that is asked about meanwhile stays, or is added anew by the request.
        """
        before = datetime.now(UTC) - self._after
        with self._database.reads() as session:
            last = session.scalar(select(func.max(Picture.id))) or 0
            ids = select(Picture.id).where(Picture.id > self._place).order_by(Picture.id)
            some = list(session.scalars(ids.limit(self._looked_at)))
            # Ids have to grow, and SQLite would give the last one again.
            unused = _unused(session, [each for each in some if each != last], before)
        removed = 0
        for start in range(0, len(unused), CHUNK):
            removed += self._remove(unused[start : start + CHUNK], before)
        self._place = some[-1] if len(some) == self._looked_at else 0
        return removed

    def _remove(self, pictures: Sequence[int], before: datetime) -> int:
        try:
            with self._database.writes() as session:
                unlocked = select(Picture.id).where(Picture.id.in_(pictures)).order_by(Picture.id)
                locked = session.scalars(unlocked.with_for_update(skip_locked=True))
                removable = _unused(session, list(locked), before)
                _delete(session, removable)
        except IntegrityError:  # one of them is needed again; the next walk takes the others
            log.info("pictures that were to be forgotten are asked about again")
            return 0
        self._database.looks.forget(removable)
        return len(removable)


def _unused(session: Session, pictures: Sequence[int], before: datetime) -> list[int]:
    """Return those of some pictures that are old and that nothing refers to."""
    needed = [_row(table.picture_id == Picture.id) for table in (StoredAnswer, Fix, Review)]
    shows = StoredImage.picture_id == Picture.id
    for table in (Source, Question, Assignment):
        needed.append(_row(shows, table.sha256 == StoredImage.sha256))
    needed.append(_row(shows, StoredImage.seen_at >= before))
    needed.append(_row(Exposure.picture_id == Picture.id, Exposure.at >= before))
    query = select(Picture.id).where(Picture.id.in_(pictures), not_(or_(*needed)))
    return list(session.scalars(query.order_by(Picture.id)))


def _row(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether there is a row of a picture."""
    return select(1).where(*conditions).exists()


def _delete(session: Session, pictures: Sequence[int]) -> None:
    """Delete pictures with all that is known of their files; what they were counted for stays."""
    columns = [getattr(Exposure, name) for name in EXPOSURE]
    new = Exposure.picture_id.in_(pictures), Exposure.is_new
    session.execute(insert(PastExposure).from_select(EXPOSURE, select(*columns).where(*new)))
    files = select(StoredImage.sha256).where(StoredImage.picture_id.in_(pictures))
    for table, condition in (
        (Exposure, Exposure.picture_id.in_(pictures)),
        (Sighting, Sighting.sha256.in_(files)),
        (StoredImage, StoredImage.picture_id.in_(pictures)),
        (Picture, Picture.id.in_(pictures)),
    ):
        session.execute(delete(table).where(condition).execution_options(synchronize_session=False))
