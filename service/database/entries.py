"""Keep the entries of the inspector's queue: one for each answer that an advertiser may see.

An entry says what the queue asks of a row: whether a person has seen it, and whether a later answer
has taken its place. Both are written when they change, so that the queue reads the rows of a page
and steps over none. Who changes entries locks their pictures first, in one order.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    case,
    exists,
    literal,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from service.database.session import insert_selected
from service.database.tables import (
    AnswerLabel,
    CurrentFix,
    Fix,
    Picture,
    QueueEntry,
    Review,
    Sighting,
    StoredAnswer,
    StoredImage,
)

OPEN: Final = "open"
CORRECTED: Final = "corrected"
CONFIRMED: Final = "confirmed"
LAST = ""  # lane of an answer after which no other one came
NOWHERE = "-"  # lane of an answer after which another one of the same model came
CHUNK = 500  # values in a query
COPIED = ("answer_id", "label", "picture_id", "value", "probability", "set_size")


def lock_pictures(session: Session, pictures: Iterable[int]) -> None:
    """Wait until no other transaction changes what is known of some pictures.

    In SQLite all that write do so anyway.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    for chunk in _chunks(pictures):
        query = select(Picture.id).where(Picture.id.in_(chunk)).order_by(Picture.id)
        session.execute(query.with_for_update(key_share=True))


def enter_answers(session: Session, answers: Sequence[int], pictures: Iterable[int]) -> None:
    """Add the entries of answers that were kept a moment ago.

    Args:
        session: that writes, and has locked the pictures.
        answers: their ids.
        pictures: that they are about.
    """
    _enter(session, OF_ANSWERS, answers=answers)
    settle(session, pictures)


def enter_sightings(
    session: Session, advertiser: str, digests: Sequence[str], pictures: Iterable[int]
) -> None:
    """Add the entries of the answers that there are about files, for who has sent them now.

    Args:
        session: that writes, and has locked the pictures.
        advertiser: who has sent them.
        digests: of the files.
        pictures: that they show.
    """
    shown = list(pictures)
    _enter(session, OF_FILES, pictures=shown, whose=advertiser, digests=digests)
    settle(session, shown, advertiser)


def settle(session: Session, pictures: Iterable[int], advertiser: str | None = None) -> None:
    """Write what the entries of pictures are now.

    Args:
        session: that writes, and has locked the pictures.
        pictures: whose answers, fixes or confirmations have changed.
        advertiser: whose entries; None: everybody's.
    """
    for chunk in _chunks(pictures):
        if advertiser is None:
            session.execute(SETTLE, {"pictures": chunk})
        else:
            session.execute(SETTLE_OF, {"pictures": chunk, "whose": advertiser})


def pictures_of_files(session: Session, digests: Sequence[str]) -> list[int]:
    """Return the pictures that files show, in order."""
    return sorted(session.scalars(SHOWN, {"digests": digests}))


def corrected_since() -> ColumnElement[bool]:
    """Return whether a person has corrected a picture after a confirmation, whatever the label.

    What is given for a label by default may depend on the other labels.
    """
    return exists().where(
        Fix.advertiser == Review.advertiser,
        Fix.picture_id == Review.picture_id,
        Fix.at > Review.at,
    )


def _enter(session: Session, query: Select[Any], **given: object) -> None:
    """Add entries; what is there already stays. ``settle`` says what they are."""
    columns = ("advertiser", "model", *COPIED, "state", "lane")
    insert_selected(session, QueueEntry, columns, query, given)


def _state() -> ColumnElement[str]:
    """Return whether a person has seen an entry."""
    corrected = exists().where(
        CurrentFix.advertiser == QueueEntry.advertiser,
        CurrentFix.picture_id == QueueEntry.picture_id,
        CurrentFix.label == QueueEntry.label,
    )
    confirmed = exists().where(
        Review.advertiser == QueueEntry.advertiser,
        Review.picture_id == QueueEntry.picture_id,
        Review.label == QueueEntry.label,
        Review.undone_at.is_(None),
        or_(
            Review.value == QueueEntry.value,
            and_(Review.answer_id == QueueEntry.answer_id, not_(corrected_since())),
        ),
    )
    return case((corrected, CORRECTED), (confirmed, CONFIRMED), else_=OPEN)


def _lane() -> ColumnElement[str]:
    """Return which lane of the queue an entry is in."""
    later = aliased(QueueEntry)
    came = and_(
        later.picture_id == QueueEntry.picture_id,
        later.label == QueueEntry.label,
        later.advertiser == QueueEntry.advertiser,
        later.answer_id > QueueEntry.answer_id,
    )
    of_model = exists().where(came, later.model == QueueEntry.model)
    return case(
        (not_(exists().where(came)), LAST), (not_(of_model), QueueEntry.model), else_=NOWHERE
    )


def _entries(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the entries that there have to be, of answers or files."""
    columns = [getattr(AnswerLabel, name) for name in COPIED]
    return (
        select(Sighting.advertiser, StoredAnswer.model, *columns, literal(OPEN), literal(LAST))
        .select_from(AnswerLabel)
        .join(StoredAnswer, StoredAnswer.id == AnswerLabel.answer_id)
        .join(Sighting, Sighting.sha256 == AnswerLabel.sha256)
        .where(*conditions)
    )


def _chunks(values: Iterable[int]) -> Iterator[list[int]]:
    every = sorted(set(values))
    for start in range(0, len(every), CHUNK):
        yield every[start : start + CHUNK]


# Statements that requests with new images need: it takes longer to build them than to execute them.
PICTURES: BindParameter[Any] = bindparam("pictures", expanding=True)
DIGESTS: BindParameter[Any] = bindparam("digests", expanding=True)
SHOWN = select(StoredImage.picture_id).where(StoredImage.sha256.in_(DIGESTS)).distinct()
OF_ANSWERS = _entries(AnswerLabel.answer_id.in_(bindparam("answers", expanding=True)))
OF_FILES = _entries(
    AnswerLabel.picture_id.in_(PICTURES),  # what has an index
    Sighting.advertiser == bindparam("whose"),
    Sighting.sha256.in_(DIGESTS),
)
SETTLE = (
    update(cast(Table, QueueEntry.__table__))
    .where(QueueEntry.picture_id.in_(PICTURES))
    .values(state=_state(), lane=_lane())
)
SETTLE_OF = SETTLE.where(QueueEntry.advertiser == bindparam("whose"))
