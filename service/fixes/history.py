"""Corrections of people: a history that only grows, and what holds now.

A fix is about a picture, for one advertiser: it holds for other encodings and URLs of the picture,
and for other models, and other advertisers keep their own answers. Who corrects says what was there
before; if somebody else has changed it in the meantime, nothing is overruled silently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Row, bindparam, exists, select
from sqlalchemy.orm import Session

from service.database.entries import lock_pictures, settle
from service.database.tables import (
    AnswerLabel,
    CurrentFix,
    Fix,
    Sighting,
    StoredAnswer,
    StoredImage,
)
from service.errors import Conflict, NotFound
from service.images.pictures import sent_before

UNSET = "(none)"  # how messages show that no fix holds


@dataclass(frozen=True)
class Correction:
    """What a person says of an image.

    Attributes:
        advertiser: for whom it holds.
        sha256: of the image that was looked at.
        label: in question.
        value: the right class.
        before: the fix that the person saw; None: there was none.
        who: the person.
        why: the person's words.
        model: digest of the model that the person looked at; None: of none, as in a file.
    """

    advertiser: str
    sha256: str
    label: str
    value: str
    before: str | None
    who: str
    why: str = ""
    model: str | None = None


@dataclass(frozen=True)
class HeldFix:
    """The fix that holds for a label of a picture."""

    id: int
    after: str
    who: str
    why: str
    at: datetime


# Of tables, not objects: what answers every request costs a third.
_FIX, _CURRENT = Fix.__table__.c, CurrentFix.__table__.c
HELD = (
    select(_CURRENT.picture_id, _CURRENT.label, _FIX.id, _FIX.after, _FIX.who, _FIX.why, _FIX.at)
    .join_from(CurrentFix.__table__, Fix.__table__, _FIX.id == _CURRENT.fix_id)
    .where(
        _CURRENT.advertiser == bindparam("advertiser"),
        _CURRENT.picture_id.in_(bindparam("pictures", expanding=True)),
    )
)


def correct(session: Session, correction: Correction) -> Fix:
    """Add a fix, effective at once.

    Raises:
        NotFound: the image was never seen.
        Conflict: another fix holds than the person saw.
    """
    image = session.get(StoredImage, correction.sha256)
    if image is None or not _sent(session, correction.advertiser, image):
        raise NotFound(
            f"the image was never classified for {correction.advertiser}",
            expected="the sha256 of an image in an answer",
            got=correction.sha256,
            remedy="Classify it first.",
        )
    one_at_a_time(session, image.picture_id)
    current = current_fix(session, correction.advertiser, image.picture_id, correction.label)
    holds = current.value if current else None
    if holds != correction.before and holds != correction.value:
        raise _conflict(session, current, correction.before)
    held = session.get(Fix, current.fix_id) if current else None
    if held is not None and (held.after, held.who) == (correction.value, correction.who):
        return held  # said again, as after an answer that was lost
    fix = Fix(
        advertiser=correction.advertiser,
        picture_id=image.picture_id,
        sha256=correction.sha256,
        label=correction.label,
        before=holds,
        after=correction.value,
        who=correction.who,
        why=correction.why,
        at=datetime.now(UTC),
        model_value=_model_class(session, image.picture_id, correction),
    )
    return _add(session, fix, current)


def undo(session: Session, advertiser: str, fix_id: int, who: str, why: str = "") -> Fix:
    """Restore what held before a fix, as a further row of the history.

    One after the other, all can be undone; an undo, too, right after it.

    Raises:
        NotFound: there is no such fix of this advertiser.
        Conflict: it does not hold any more, or was undone.
    """
    fix = session.get(Fix, fix_id)
    if fix is None or fix.advertiser != advertiser:
        raise NotFound("there is no such fix", expected=f"a fix of {advertiser}", got=str(fix_id))
    one_at_a_time(session, fix.picture_id)
    current = current_fix(session, advertiser, fix.picture_id, fix.label)
    rows = session.execute(
        select(Fix.id, Fix.undoes)
        .where(
            Fix.advertiser == advertiser,
            Fix.picture_id == fix.picture_id,
            Fix.label == fix.label,
        )
        .order_by(Fix.id.desc())
    ).all()
    # An undo can be undone as well, until something else is said.
    if fix.id not in (rows[0].id, _still_done(rows)):
        raise _conflict(session, current, fix.after)
    restored = Fix(
        advertiser=advertiser,
        picture_id=fix.picture_id,
        sha256=fix.sha256,
        label=fix.label,
        before=current.value if current else None,
        after=fix.before,
        who=who,
        why=why,
        at=datetime.now(UTC),
        model_value=fix.model_value,
        undoes=fix.id,
    )
    return _add(session, restored, current)


def _still_done(rows: Sequence[Row[int, int | None]]) -> int | None:
    """Return the last fix that was not undone, of rows from the last to the first."""
    undone: set[int] = set()
    for row in rows:
        number, undoes = row
        if number in undone:
            continue
        if undoes is None:
            return number
        undone.add(undoes)
    return None


def fixes_that_hold(
    session: Session, advertiser: str, pictures: Sequence[int]
) -> dict[int, dict[str, HeldFix]]:
    """Return the fixes of an advertiser by picture and label."""
    rows = session.execute(HELD, {"advertiser": advertiser, "pictures": pictures})
    found: dict[int, dict[str, HeldFix]] = {}
    for row in rows:
        fix = HeldFix(row.id, str(row.after), row.who, row.why, row.at)
        found.setdefault(row.picture_id, {})[row.label] = fix
    return found


def history(
    session: Session, advertiser: str, sha256: str | None, before_id: int | None, most: int
) -> list[Fix]:
    """Return fixes of an advertiser, the last ones first.

    Args:
        session: that reads.
        advertiser: whose they are.
        sha256: of an image, whose picture they are about; None for all.
        before_id: fixes before this one, for the next page.
        most: number.
    """
    query = select(Fix).where(Fix.advertiser == advertiser).order_by(Fix.id.desc()).limit(most)
    if before_id is not None:
        query = query.where(Fix.id < before_id)
    if sha256 is not None:
        sent = exists().where(Sighting.advertiser == advertiser, Sighting.sha256 == sha256)
        pictures = select(StoredImage.picture_id).where(StoredImage.sha256 == sha256, sent)
        query = query.where(Fix.picture_id.in_(pictures))
    return list(session.scalars(query))


def _model_class(session: Session, picture: int, correction: Correction) -> str | None:
    """Return the class that the model says of an image that is corrected; None: it is not known."""
    if correction.model is None:
        return None
    own = Sighting.advertiser == correction.advertiser, Sighting.sha256 == AnswerLabel.sha256
    return session.scalar(
        select(AnswerLabel.value)
        .join(StoredAnswer, StoredAnswer.id == AnswerLabel.answer_id)
        .where(
            AnswerLabel.picture_id == picture,
            AnswerLabel.label == correction.label,
            exists().where(*own),
        )
        .order_by(
            (StoredAnswer.model == correction.model).desc(),
            (AnswerLabel.sha256 == correction.sha256).desc(),
            AnswerLabel.answer_id.desc(),
        )
        .limit(1)
    )


def _sent(session: Session, advertiser: str, image: StoredImage) -> bool:
    return image.sha256 in sent_before(session, advertiser, [image.picture_id]).images


def one_at_a_time(session: Session, picture: int) -> None:
    """Wait until no other transaction corrects or confirms this picture; rows may refer to it."""
    lock_pictures(session, [picture])


def current_fix(session: Session, advertiser: str, picture: int, label: str) -> CurrentFix | None:
    """Return the fix that holds for an advertiser, None if there is none."""
    return session.get(CurrentFix, (advertiser, picture, label))


def _add(session: Session, fix: Fix, current: CurrentFix | None) -> Fix:
    session.add(fix)
    session.flush()
    if fix.after is None:
        if current is not None:
            session.delete(current)
    elif current is None:
        session.add(
            CurrentFix(
                advertiser=fix.advertiser,
                picture_id=fix.picture_id,
                label=fix.label,
                fix_id=fix.id,
                value=fix.after,
            )
        )
    else:
        current.fix_id, current.value = fix.id, fix.after
    session.flush()
    settle(session, [fix.picture_id], fix.advertiser)
    return fix


def _conflict(session: Session, current: CurrentFix | None, seen: str | None) -> Conflict:
    held = session.get(Fix, current.fix_id) if current else None
    by = f" by {held.who} at {held.at.isoformat(timespec='seconds')}" if held else ""
    return Conflict(
        "the answer was changed in the meantime",
        expected=seen or UNSET,
        got=(current.value if current else UNSET) + by,
        remedy="Look at it again, and correct it with what holds now as before.",
    )
