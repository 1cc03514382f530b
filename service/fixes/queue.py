"""What an inspector looks at: pictures of an advertiser that no person has seen, least sure first.

A picture is done when a person has corrected the label, or confirmed what the model says now. Of
several answers for a picture (other models, other options) the last one counts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    exists,
    func,
    literal,
    not_,
    select,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from augrank.errors import BadRequest
from service.database.tables import (
    NAME,
    AnswerLabel,
    CurrentFix,
    Fix,
    Review,
    Sighting,
    StoredAnswer,
    StoredImage,
)

State = Literal["open", "corrected", "confirmed", "all"]
MAX_COUNTED = 1000  # pictures that are left; more are not counted
FEW = 2000  # images of an advertiser, up to which they are sorted, instead of the whole queue read


_CURSOR = re.compile(r"(\d(?:\.\d{1,20})?(?:e-\d{1,3})?),(\d{1,10}),(.{1,200})", re.ASCII)


@dataclass(frozen=True)
class QueueFilter:
    """Which pictures, for one label.

    Attributes:
        label: in question.
        advertiser: whose pictures; None: everybody's.
        value: only those that the model takes for this class.
        model: only answers of the model with this digest; None: the last answers.
        least: probability of the answer.
        most: probability of the answer.
        unsure: only those whose prediction set has several classes.
        state: open: no person has seen it; corrected; confirmed; all.
    """

    label: str
    advertiser: str | None = None
    value: str | None = None
    model: str | None = None
    least: float = 0.0
    most: float = 1.0
    unsure: bool = False
    state: State = "open"


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
    model: str
    content: Mapping[str, Any]  # the label in the model's answer: top, set
    fix: Fix | None  # that holds
    review: Review | None  # the last confirmation of this value

    @property
    def cursor(self) -> Cursor:
        """Where the queue goes on after this picture."""
        return Cursor(self.probability, self.picture, self.advertiser)


@dataclass(frozen=True)
class Progress:
    """How far the inspection is."""

    left: int  # pictures; at most MAX_COUNTED
    more: bool  # whether there are more than ``left``
    done: int  # answers of this label that a person has corrected or confirmed


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
    few = _few(session, given.advertiser)
    query, order = _query(given, few), _order(given, few)
    if after is not None:
        place = (after.probability, after.picture, after.advertiser)[: len(order)]
        query = query.where(
            AnswerLabel.probability >= after.probability,  # what the index can use
            tuple_(*order) > tuple_(*map(literal, place)),
        )
    rows = session.execute(query.order_by(*order).limit(most)).all()
    return _items(session, given.label, rows)


def progress(session: Session, given: QueueFilter) -> Progress:
    """Count what is left with a filter, up to a limit, and what is done of the label."""
    query = _query(given, _few(session, given.advertiser)).limit(MAX_COUNTED + 1)
    left = session.scalar(select(func.count()).select_from(query.subquery())) or 0
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


def _query(given: QueueFilter, few: list[int] | None) -> Any:
    """Return the query of the pictures, without order.

    What could be joins is EXISTS, one in another: SQLite, which knows nothing of sizes, then reads
    the labels in the order of their index, and stops at the end of the page.
    """
    columns = (
        AnswerLabel.answer_id,
        AnswerLabel.picture_id,
        AnswerLabel.value,
        AnswerLabel.probability,
        AnswerLabel.set_size,
    )
    advertiser = _advertiser(given)
    query = select(*columns, advertiser.label("advertiser")).where(AnswerLabel.label == given.label)
    if given.advertiser is None:
        query = query.join(Sighting, Sighting.sha256 == AnswerLabel.sha256)
    else:
        query = query.where(_sent(advertiser, AnswerLabel.sha256))
    if few is not None:
        query = query.where(AnswerLabel.picture_id.in_(few))
    query = query.where(*_state(given.state, advertiser), _last(given.model, advertiser))
    return query.where(*_bounds(given))


def _advertiser(given: QueueFilter) -> ColumnElement[str]:
    """Return what stands for the advertiser of a row."""
    if given.advertiser is None:
        return Sighting.advertiser.expression
    return literal(given.advertiser, String(NAME))


def _order(given: QueueFilter, few: list[int] | None) -> tuple[ColumnElement[Any], ...]:
    """Return the order: least sure first."""
    probability: ColumnElement[Any] = AnswerLabel.probability.expression
    if few is not None:
        probability = probability + 0.0  # so that SQLite takes the index of the pictures
    if given.advertiser is not None:
        return probability, AnswerLabel.picture_id.expression
    return probability, AnswerLabel.picture_id.expression, Sighting.advertiser.expression


def _bounds(given: QueueFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if given.value is not None:
        conditions.append(AnswerLabel.value == given.value)
    if given.least > 0:
        conditions.append(AnswerLabel.probability >= given.least)
    if given.most < 1:
        conditions.append(AnswerLabel.probability <= given.most)
    if given.unsure:
        conditions.append(AnswerLabel.set_size > 1)
    if given.model is not None:
        conditions.append(
            exists().where(
                StoredAnswer.id == AnswerLabel.answer_id, StoredAnswer.model == given.model
            )
        )
    return conditions


def _few(session: Session, advertiser: str | None) -> list[int] | None:
    """Return the pictures of an advertiser who has few; None for one who has many.

    The queue of all would be read to its end for an advertiser who has a hundred pictures in it.
    """
    if advertiser is None:
        return None
    first = select(Sighting.sha256).where(Sighting.advertiser == advertiser).limit(FEW + 1)
    if (session.scalar(select(func.count()).select_from(first.subquery())) or 0) > FEW:
        return None
    sent = select(Sighting.sha256).where(Sighting.advertiser == advertiser)
    query = select(StoredImage.picture_id).where(StoredImage.sha256.in_(sent)).distinct()
    return sorted(session.scalars(query))


def _sent(
    advertiser: ColumnElement[str], sha256: InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """Tell whether an advertiser has sent the file that an answer is about."""
    sighting = aliased(Sighting)
    return exists().where(sighting.advertiser == advertiser, sighting.sha256 == sha256)


def _last(model: str | None, advertiser: ColumnElement[str]) -> ColumnElement[bool]:
    """Leave out an answer after which the advertiser got another one for the picture."""
    later = aliased(AnswerLabel)
    condition = and_(
        later.picture_id == AnswerLabel.picture_id,
        later.label == AnswerLabel.label,
        later.answer_id > AnswerLabel.answer_id,
        _sent(advertiser, later.sha256),
    )
    if model is not None:
        answer = aliased(StoredAnswer)
        return not_(exists().where(condition, answer.id == later.answer_id, answer.model == model))
    return not_(exists().where(condition))


def _state(state: State, advertiser: ColumnElement[str]) -> list[ColumnElement[bool]]:
    corrected = exists().where(
        CurrentFix.advertiser == advertiser,
        CurrentFix.picture_id == AnswerLabel.picture_id,
        CurrentFix.label == AnswerLabel.label,
    )
    confirmed = exists().where(
        Review.advertiser == advertiser,
        Review.picture_id == AnswerLabel.picture_id,
        Review.label == AnswerLabel.label,
        Review.value == AnswerLabel.value,
        Review.undone_at.is_(None),
    )
    conditions: dict[State, list[ColumnElement[bool]]] = {
        "open": [not_(confirmed), not_(corrected)],
        "corrected": [corrected],
        "confirmed": [confirmed, not_(corrected)],
        "all": [],
    }
    return conditions[state]


def _done(session: Session, given: QueueFilter) -> int:
    fixed = select(func.count()).select_from(CurrentFix).where(CurrentFix.label == given.label)
    confirmed = select(func.count(func.distinct(Review.picture_id))).where(
        Review.label == given.label,
        Review.undone_at.is_(None),
        not_(
            exists().where(
                CurrentFix.advertiser == Review.advertiser,
                CurrentFix.picture_id == Review.picture_id,
                CurrentFix.label == Review.label,
            )
        ),
    )
    if given.advertiser is not None:
        fixed = fixed.where(CurrentFix.advertiser == given.advertiser)
        confirmed = confirmed.where(Review.advertiser == given.advertiser)
    return (session.scalar(fixed) or 0) + (session.scalar(confirmed) or 0)


def _items(session: Session, label: str, rows: Sequence[Any]) -> list[QueueItem]:
    """Add what is shown beside the order: the answer, the fix, the confirmation."""
    pictures = sorted({row.picture_id for row in rows})
    advertisers = sorted({row.advertiser for row in rows})
    answers = {
        answer_id: (model, content)
        for answer_id, model, content in session.execute(
            select(StoredAnswer.id, StoredAnswer.model, StoredAnswer.content).where(
                StoredAnswer.id.in_([row.answer_id for row in rows])
            )
        )
    }
    images = _images(session, pictures, advertisers)
    fixes = {
        (fix.advertiser, fix.picture_id): fix
        for fix in session.scalars(
            select(Fix)
            .join(CurrentFix, CurrentFix.fix_id == Fix.id)
            .where(
                CurrentFix.advertiser.in_(advertisers),
                CurrentFix.picture_id.in_(pictures),
                CurrentFix.label == label,
            )
        )
    }
    reviews = {
        (review.advertiser, review.picture_id, review.value): review
        for review in session.scalars(
            select(Review)
            .where(
                Review.advertiser.in_(advertisers),
                Review.picture_id.in_(pictures),
                Review.label == label,
                Review.undone_at.is_(None),
            )
            .order_by(Review.id)
        )
    }
    return [
        QueueItem(
            row.advertiser,
            row.picture_id,
            images[row.advertiser, row.picture_id],
            row.value,
            row.probability,
            row.set_size,
            answers[row.answer_id][0],
            answers[row.answer_id][1]["labels"][label],
            fixes.get((row.advertiser, row.picture_id)),
            reviews.get((row.advertiser, row.picture_id, row.value)),
        )
        for row in rows
        if row.answer_id in answers and (row.advertiser, row.picture_id) in images
    ]


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
