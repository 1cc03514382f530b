"""What an inspector looks at: pictures of an advertiser that no person has seen, least sure first.

A picture is done when a person has corrected the label, or confirmed what the advertiser gets. Of
several answers for a picture the last one of the live model counts: after a rollback, that is not
the last one of all. A picture that the live model has not seen is shown with the last answer of
another one, and the item says so.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, tuple_, union_all
from sqlalchemy.orm import Session, aliased

from augrank.errors import BadRequest
from augrank.models.tags import TagRules
from service.database.entries import CONFIRMED, CORRECTED, LAST, OPEN, corrected_since
from service.database.tables import (
    CurrentFix,
    Fix,
    QueueEntry,
    Review,
    Sighting,
    StoredAnswer,
    StoredImage,
)
from service.fixes.configured import configured_of
from service.fixes.given import without_fix

State = Literal["open", "corrected", "confirmed", "all"]
DONE: tuple[State, ...] = (CORRECTED, CONFIRMED)
MAX_COUNTED = 1000  # pictures that are left; more are not counted
_ORDER = QueueEntry.probability, QueueEntry.picture_id, QueueEntry.advertiser  # least sure first
_CURSOR = re.compile(r"(\d(?:\.\d{1,20})?(?:e-\d{1,3})?),(\d{1,10}),(.{1,200})", re.ASCII)


@dataclass(frozen=True)
class QueueFilter:
    """Which pictures, for one label.

    Attributes:
        label: in question.
        advertiser: whose pictures; None: everybody's.
        value: only those that the model takes for this class.
        model: only answers of the model with this digest; None: of the live one if there are any.
        live: digest of the model that answers now; None: unknown, so that the last answers count.
        least: probability of the answer.
        most: probability of the answer.
        unsure: only those whose prediction set has several classes.
        state: open: no person has seen it; corrected; confirmed; all.
        tags: rules of the model that answers now, by label.
    """

    label: str
    advertiser: str | None = None
    value: str | None = None
    model: str | None = None
    live: str | None = None
    least: float = 0.0
    most: float = 1.0
    unsure: bool = False
    state: State = "open"
    tags: TagRules = field(default_factory=dict)


@dataclass(frozen=True)
class Cursor:
    """The last picture of a page."""

    probability: float
    picture: int
    advertiser: str

    def __str__(self) -> str:
        """Return it as text, which ``of`` reads."""
        return f"{self.probability!r},{self.picture},{self.advertiser}"

    @classmethod
    def of(cls, text: str) -> "Cursor":
        """Read a cursor.

        Raises:
            BadRequest: it is none.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadRequest(
                "after does not fit", expected="next_after of the page before", got=repr(text)
            )
        return cls(float(match[1]), int(match[2]), match[3])


@dataclass(frozen=True)
class QueueItem:
    """A picture of an advertiser, and what is known of one label of it."""

    advertiser: str
    picture: int
    sha256: str  # an image that shows it
    value: str  # the most probable class
    probability: float
    set_size: int  # classes in the prediction set
    model: str  # that gave the answer: its digest
    live: bool  # whether that is the model that answers now
    content: Mapping[str, Any]  # the label in the model's answer: top, set
    plain: str | None  # what the advertiser gets without a fix of the label; None: nothing
    fix: Fix | None  # that holds
    review: Review | None  # the last confirmation that is about this answer

    @property
    def given(self) -> str | None:
        """What the advertiser gets; None: nothing."""
        return self.fix.after if self.fix else self.plain

    @property
    def cursor(self) -> Cursor:
        """Where the queue goes on after this picture."""
        return Cursor(self.probability, self.picture, self.advertiser)


@dataclass(frozen=True)
class Progress:
    """How far the inspection is."""

    left: int  # pictures; at most MAX_COUNTED
    more: bool  # whether there are more than ``left``
    done: int  # pictures whose answer a person has corrected or confirmed


def queue_page(
    session: Session, given: QueueFilter, after: Cursor | None, most: int
) -> list[QueueItem]:
    """Return the next pictures, those first that the model is least sure of.

    Args:
        session: that reads.
        given: which pictures.
        after: the last picture of the page before.
        most: number.
    """
    parts = []
    for query in _queries(given):
        if after is not None:
            place = map(literal, (after.probability, after.picture, after.advertiser))
            query = query.where(
                QueueEntry.probability >= after.probability,  # what the index can use
                tuple_(*_ORDER) > tuple_(*place),
            )
        parts.append(select(query.order_by(*_ORDER).limit(most).subquery()))
    found = union_all(*parts).subquery()
    order = found.c.probability, found.c.picture_id, found.c.advertiser
    rows = session.execute(select(found).order_by(*order).limit(most)).all()
    return _items(session, given, rows)


def progress(session: Session, given: QueueFilter) -> Progress:
    """Count what is left with a filter, up to a limit, and what is done of the label."""
    parts = [select(query.limit(MAX_COUNTED + 1).subquery()) for query in _queries(given)]
    found = union_all(*parts).limit(MAX_COUNTED + 1).subquery()
    left = session.scalar(select(func.count()).select_from(found)) or 0
    return Progress(min(left, MAX_COUNTED), left > MAX_COUNTED, _done(session, given))


def models_of(session: Session) -> list[str]:
    """Return the digests of the models whose answers are kept, the last one first."""
    rows = session.execute(
        select(StoredAnswer.model, func.max(StoredAnswer.id))
        .group_by(StoredAnswer.model)
        .order_by(func.max(StoredAnswer.id).desc())
    )
    return [row[0] for row in rows]


def advertisers_of(session: Session) -> list[str]:
    """Return all who have sent images, in order."""
    return list(session.scalars(select(Sighting.advertiser).distinct().order_by("advertiser")))


def _queries(given: QueueFilter) -> list[Select[*tuple[Any, ...]]]:
    """Return queries whose rows together are the queue, without order.

    Each names one state and one lane: its index then has the rows in their order, and none of those
    that people have done.
    """
    columns = (
        QueueEntry.advertiser,
        QueueEntry.answer_id,
        QueueEntry.picture_id,
        QueueEntry.value,
        QueueEntry.probability,
        QueueEntry.set_size,
    )
    states = (OPEN, *DONE) if given.state == "all" else (given.state,)
    query: Select[*tuple[Any, ...]] = select(*columns).where(
        QueueEntry.label == given.label, *_bounds(given)
    )
    return [
        query.where(QueueEntry.state == state, *lane) for state in states for lane in _lanes(given)
    ]


def _lanes(given: QueueFilter) -> list[list[ColumnElement[bool]]]:
    """Return conditions on lanes, which choose one answer of several about a picture.

    The answer is the last one of the model that is asked for, or that answers now. Without one, it
    is the last one of any model, as long as none is asked for.
    """
    last = QueueEntry.lane == LAST
    if given.model is not None:
        return [[last, QueueEntry.model == given.model], [QueueEntry.lane == given.model]]
    if given.live is None:
        return [[last]]
    own = aliased(QueueEntry)
    has_own = select(own.answer_id).where(
        own.picture_id == QueueEntry.picture_id,
        own.label == QueueEntry.label,
        own.advertiser == QueueEntry.advertiser,
        own.model == given.live,
    )
    # No EXISTS: PostgreSQL would read all of the model's entries first, to look into a hash.
    has_none = has_own.limit(1).scalar_subquery().is_(None)
    shown = or_(QueueEntry.model == given.live, has_none)
    return [[last, shown], [QueueEntry.lane == given.live]]


def _bounds(given: QueueFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if given.advertiser is not None:
        conditions.append(QueueEntry.advertiser == given.advertiser)
    if given.value is not None:
        conditions.append(QueueEntry.value == given.value)
    if given.least > 0:
        conditions.append(QueueEntry.probability >= given.least)
    if given.most < 1:
        conditions.append(QueueEntry.probability <= given.most)
    if given.unsure:
        conditions.append(QueueEntry.set_size > 1)
    return conditions


def _done(session: Session, given: QueueFilter) -> int:
    """Count the pictures that people have done, whatever else the filter says."""
    whose = QueueFilter(given.label, given.advertiser, live=given.live)
    count = 0
    for state in DONE:
        for query in _queries(replace(whose, state=state)):
            number = query.with_only_columns(func.count(), maintain_column_froms=True)
            count += session.scalar(number) or 0
    return count


def _items(session: Session, given: QueueFilter, rows: Sequence[Any]) -> list[QueueItem]:
    """Add what is shown beside the order: the answer, the fix, the confirmation."""
    pictures = sorted({row.picture_id for row in rows})
    advertisers = sorted({row.advertiser for row in rows})
    query = select(StoredAnswer.id, StoredAnswer.model, StoredAnswer.content)
    query = query.where(StoredAnswer.id.in_([row.answer_id for row in rows]))
    answers = {answer.id: answer for answer in session.execute(query)}
    images = _images(session, pictures, advertisers)
    fixes = _fixes(session, pictures, advertisers)
    configured = configured_of(session, advertisers)
    reviews = _reviews(session, given.label, pictures, advertisers)
    items = []
    for row in rows:
        key = row.advertiser, row.picture_id
        if row.answer_id not in answers or key not in images:
            continue
        answer, own = answers[row.answer_id], fixes.get(key, {})
        labels = answer.content["labels"]
        told = {name: (each["value"], each["probability"]) for name, each in labels.items()}
        corrected = {name: str(fix.after) for name, fix in own.items()}
        about = (
            each for each in reviews.get(key, ())
            if each.value == row.value or each.answer_id == row.answer_id
        )  # fmt: skip
        items.append(
            QueueItem(
                advertiser=row.advertiser,
                picture=row.picture_id,
                sha256=images[key],
                value=row.value,
                probability=row.probability,
                set_size=row.set_size,
                model=answer.model,
                live=answer.model == given.live,
                content=labels[given.label],
                plain=without_fix(
                    given.tags, told, corrected, given.label, configured.get(row.advertiser, {})
                ),
                fix=own.get(given.label),
                review=next(about, None),
            )
        )
    return items


def _fixes(
    session: Session, pictures: Sequence[int], advertisers: Sequence[str]
) -> dict[tuple[str, int], dict[str, Fix]]:
    """Return the fixes that hold, of all labels: by advertiser and picture, then by label."""
    query = select(Fix).join(CurrentFix, CurrentFix.fix_id == Fix.id)
    query = query.where(CurrentFix.advertiser.in_(advertisers), CurrentFix.picture_id.in_(pictures))
    found: dict[tuple[str, int], dict[str, Fix]] = defaultdict(dict)
    for fix in session.scalars(query):
        found[fix.advertiser, fix.picture_id][fix.label] = fix
    return found


def _reviews(
    session: Session, label: str, pictures: Sequence[int], advertisers: Sequence[str]
) -> dict[tuple[str, int], list[Review]]:
    """Return the confirmations of a label that hold, by advertiser and picture, the last first."""
    query = select(Review).where(
        Review.advertiser.in_(advertisers),
        Review.picture_id.in_(pictures),
        Review.label == label,
        Review.undone_at.is_(None),
        or_(Review.answer_id.is_(None), ~corrected_since()),
    )
    found: dict[tuple[str, int], list[Review]] = defaultdict(list)
    for review in session.scalars(query.order_by(Review.id.desc())):
        found[review.advertiser, review.picture_id].append(review)
    return found


def _images(
    session: Session, pictures: Sequence[int], advertisers: Sequence[str]
) -> dict[tuple[str, int], str]:
    """Return one image of each picture that an advertiser has sent, by advertiser and picture."""
    query = select(StoredImage.sha256, StoredImage.picture_id)
    found = session.execute(query.where(StoredImage.picture_id.in_(pictures))).all()
    shown = {row.sha256: row.picture_id for row in found}
    sent = session.execute(
        select(Sighting.advertiser, Sighting.sha256)
        .where(Sighting.sha256.in_(list(shown)), Sighting.advertiser.in_(advertisers))
        .order_by(Sighting.sha256.desc())
    )
    return {(advertiser, shown[sha256]): sha256 for advertiser, sha256 in sent}
