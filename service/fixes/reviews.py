"""Confirmations: a person has looked at a picture, and what the advertiser gets is right.

That the model is right is data too: a picture that was confirmed leaves the inspector's queue,
until a model says something else of it. Where the advertiser gets a default, or nothing, in place
of the model's class, that is what is confirmed: for this answer alone, and until a person corrects
another label of the picture, on which the default may depend. The class is then no one's word.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from augrank.errors import RequestError
from service.database.entries import corrected_since, lock_pictures, settle
from service.database.session import lock_for_adding
from service.database.tables import AnswerLabel, Review, Sighting, StoredAnswer, StoredImage
from service.errors import Conflict, NotFound
from service.fixes.configured import CONFIGURING, configured_of
from service.fixes.given import Answering, in_words, without_fix
from service.fixes.history import current_fix, fixes_that_hold, one_at_a_time
from service.images.pictures import sent_before


@dataclass(frozen=True)
class Confirmation:
    """What a person says is right.

    Attributes:
        sha256: of the image that was looked at.
        value: that the person saw as what the advertiser gets; None: nothing was told.
    """

    sha256: str
    value: str | None


@dataclass(frozen=True)
class _Asked:
    """A label of a picture, and what a person says of it."""

    advertiser: str
    picture: int
    label: str
    value: str | None


def confirm(
    session: Session,
    advertiser: str,
    label: str,
    given: Sequence[Confirmation],
    who: str,
    answering: Answering = Answering(),
) -> list[Review | RequestError]:
    """Confirm answers, each on its own; return the row of each, or why there is none.

    Args:
        session: that writes.
        advertiser: for whom they hold.
        label: in question.
        given: images and the answers that the person saw.
        who: the person.
        answering: the model that answers now.

    Returns:
        In the order of ``given``: a row; ``NotFound`` for an image that the advertiser has not
        sent; ``Conflict`` if somebody has corrected it, or the advertiser does not get that.
    """
    lock_for_adding(session, CONFIGURING, shared=True)  # what is given stays so meanwhile
    pictures = _pictures(session, advertiser, [each.sha256 for each in given])
    lock_pictures(session, pictures.values())
    results: list[Review | RequestError] = []
    for each in given:
        if each.sha256 not in pictures:
            results.append(_not_sent(advertiser, each.sha256))
            continue
        asked = _Asked(advertiser, pictures[each.sha256], label, each.value)
        try:
            answer_id = _replaced(session, asked, answering)
        except Conflict as conflict:
            results.append(conflict)
            continue
        review = Review(
            advertiser=advertiser,
            picture_id=asked.picture,
            sha256=each.sha256,
            label=label,
            value=each.value,
            answer_id=answer_id,
            who=who,
            at=datetime.now(UTC),
        )
        results.append(_held(session, review) or _add(session, review))
    settle(session, pictures.values(), advertiser)
    return results


def undo_review(session: Session, advertiser: str, review_id: int, who: str) -> Review:
    """Take a confirmation back: the picture is in the queue again.

    Raises:
        NotFound: there is no such confirmation of this advertiser.
    """
    review = session.get(Review, review_id)
    if review is None or review.advertiser != advertiser:
        raise NotFound(
            "there is no such confirmation",
            expected=f"a confirmation of {advertiser}",
            got=str(review_id),
        )
    one_at_a_time(session, review.picture_id)
    session.refresh(review)  # somebody else may have taken it back a moment ago
    if review.undone_at is None:
        review.undone_by, review.undone_at = who, datetime.now(UTC)
        session.flush()
        settle(session, [review.picture_id], advertiser)
    return review


def _pictures(session: Session, advertiser: str, digests: Sequence[str]) -> dict[str, int]:
    """Return the pictures of those images that the advertiser has sent."""
    query = select(StoredImage.sha256, StoredImage.picture_id)
    rows = session.execute(query.where(StoredImage.sha256.in_(digests)))
    found: dict[str, int] = {digest: picture for digest, picture in rows}  # noqa: C416 - typed
    sent = sent_before(session, advertiser, sorted(set(found.values()))).images
    return {digest: picture for digest, picture in found.items() if digest in sent}


def _replaced(session: Session, asked: _Asked, answering: Answering) -> int | None:
    """Return the answer in place of whose class a default is confirmed; None: a class is confirmed.

    Raises:
        Conflict: the advertiser gets something else.
    """
    current = current_fix(session, asked.advertiser, asked.picture, asked.label)
    if current is not None:
        if current.value == asked.value:
            return None
        raise Conflict(
            "the answer was changed in the meantime",
            expected=in_words(asked.value),
            got=current.value,
            remedy="Look at it again.",
        )
    fixes = fixes_that_hold(session, asked.advertiser, [asked.picture]).get(asked.picture, {})
    corrected = {name: fix.after for name, fix in fixes.items()}
    own = configured_of(session, [asked.advertiser]).get(asked.advertiser, {})
    given = list[str | None]()
    for answer_id, told in _answers(session, asked, answering).items():
        if asked.label not in told:
            continue
        value = without_fix(answering.tags, told, corrected, asked.label, own)
        if value == asked.value:
            return None if value == told[asked.label][0] else answer_id
        given.append(value)
    raise Conflict(
        f"{asked.label} of this image was not answered so",
        expected=in_words(given[0]) if given else "an answer that is kept",
        got=in_words(asked.value),
        remedy="Look at it again; correct it if the answer is wrong.",
    )


def _answers(
    session: Session, asked: _Asked, answering: Answering
) -> dict[int, dict[str, tuple[str, float]]]:
    """Return the labels of the answers about a picture: of the live model first, then the last."""
    sent = exists().where(
        Sighting.advertiser == asked.advertiser, Sighting.sha256 == AnswerLabel.sha256
    )
    query = (
        select(AnswerLabel, StoredAnswer.model)
        .join(StoredAnswer, StoredAnswer.id == AnswerLabel.answer_id)
        .where(AnswerLabel.picture_id == asked.picture, sent)
        .order_by((StoredAnswer.model == answering.model).desc(), AnswerLabel.answer_id.desc())
    )
    found: dict[int, dict[str, tuple[str, float]]] = defaultdict(dict)
    for row, _ in session.execute(query):
        found[row.answer_id][row.label] = row.value, row.probability
    return found


def _held(session: Session, review: Review) -> Review | None:
    """Return the confirmation that says the same already, as after an answer that was lost."""
    query = select(Review).where(
        Review.advertiser == review.advertiser,
        Review.picture_id == review.picture_id,
        Review.label == review.label,
        Review.value == review.value,
        Review.answer_id == review.answer_id,
        Review.who == review.who,
        Review.undone_at.is_(None),
        or_(Review.answer_id.is_(None), ~corrected_since()),
    )
    return session.scalar(query.limit(1))


def _add(session: Session, review: Review) -> Review:
    session.add(review)
    session.flush()
    return review


def _not_sent(advertiser: str, sha256: str) -> NotFound:
    return NotFound(
        f"the image was never classified for {advertiser}",
        expected="the sha256 of an image in an answer",
        got=sha256,
        remedy="Classify it first.",
    )
