"""Confirmations: a person has looked at a picture, and what was answered is right.

That the model is right is data too: a picture that was confirmed leaves the inspector's queue,
until a model says something else of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from augrank.errors import RequestError
from service.database.entries import lock_pictures, settle
from service.database.tables import AnswerLabel, Review, Sighting, StoredImage
from service.errors import Conflict, NotFound
from service.fixes.history import current_fix, one_at_a_time
from service.images.pictures import sent_before


@dataclass(frozen=True)
class Confirmation:
    """What a person says is right.

    Attributes:
        sha256: of the image that was looked at.
        value: the class that the person saw as the answer.
    """

    sha256: str
    value: str


def confirm(
    session: Session, advertiser: str, label: str, given: Sequence[Confirmation], who: str
) -> list[Review | RequestError]:
    """Confirm answers, each on its own; return the row of each, or why there is none.

    Args:
        session: that writes.
        advertiser: for whom they hold.
        label: in question.
        given: images and the answers that the person saw.
        who: the person.

    Returns:
        In the order of ``given``: a row; ``NotFound`` for an image that the advertiser has not
        sent; ``Conflict`` if somebody has corrected it, or it was never answered so.
    """
    pictures = _pictures(session, advertiser, [each.sha256 for each in given])
    lock_pictures(session, pictures.values())
    results: list[Review | RequestError] = []
    for each in given:
        if each.sha256 not in pictures:
            results.append(_not_sent(advertiser, each.sha256))
            continue
        picture = pictures[each.sha256]
        try:
            _check_answer(session, advertiser, picture, label, each.value)
        except Conflict as conflict:
            results.append(conflict)
            continue
        review = Review(
            advertiser=advertiser,
            picture_id=picture,
            sha256=each.sha256,
            label=label,
            value=each.value,
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


def _check_answer(session: Session, advertiser: str, picture: int, label: str, value: str) -> None:
    """Check that a value is what the advertiser gets, or what a model has said.

    Raises:
        Conflict: somebody has corrected it to another one, or no model has said so.
    """
    current = current_fix(session, advertiser, picture, label)
    if current is not None:
        if current.value == value:
            return
        raise Conflict(
            "the answer was changed in the meantime",
            expected=value,
            got=current.value,
            remedy="Look at it again.",
        )
    sent = exists().where(Sighting.advertiser == advertiser, Sighting.sha256 == AnswerLabel.sha256)
    query = select(AnswerLabel.value).where(
        AnswerLabel.picture_id == picture, AnswerLabel.label == label, sent
    )
    told = list(session.scalars(query.order_by(AnswerLabel.answer_id.desc())))
    if value not in told:
        raise Conflict(
            f"{label} of this image was not answered so",
            expected=told[0] if told else "an answer that is kept",
            got=value,
            remedy="Look at it again; correct it if the answer is wrong.",
        )


def _held(session: Session, review: Review) -> Review | None:
    """Return the confirmation that says the same already, as after an answer that was lost."""
    query = select(Review).where(
        Review.advertiser == review.advertiser,
        Review.picture_id == review.picture_id,
        Review.label == review.label,
        Review.value == review.value,
        Review.who == review.who,
        Review.undone_at.is_(None),
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
