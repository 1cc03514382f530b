"""The queue of fixes that people look through before a model learns from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from augrank.errors import BadRequest, one_of
from service.database.tables import Job, ReviewItem
from service.errors import Conflict, NotFound
from service.fixes.classes import check_class
from service.jobs.queue import REVIEW, WAITING, note
from service.retraining.filters import DROP, KEEP

RELABEL, CROP = "relabel", "crop"
DECISIONS = (KEEP, DROP, RELABEL, CROP)
FILTERS = "(filters)"  # who decided if nobody looked
LEAST_CROP = 0.05  # share of a side that a crop leaves at least
Crop = tuple[float, float, float, float]  # left, top, right, bottom in 0 to 1


@dataclass(frozen=True)
class Decision:
    """What a person says of a fix.

    Attributes:
        decision: keep, drop, relabel or crop.
        value: the right class, with ``relabel``.
        crop: what is left of the image, with ``crop``.
        who: decided.
    """

    decision: str
    who: str
    value: str | None = None
    crop: Crop | None = None


def next_items(
    session: Session, job_id: int, advertiser: str | None, most: int
) -> list[ReviewItem]:
    """Return undecided items: those with an objection first, all about one picture together."""
    query = select(ReviewItem).where(ReviewItem.job_id == job_id, ReviewItem.decision.is_(None))
    if advertiser is not None:
        query = query.where(ReviewItem.advertiser == advertiser)
    doubtful = case((ReviewItem.proposal == DROP, 0), else_=1)
    order = (doubtful, ReviewItem.label, ReviewItem.sha256, ReviewItem.id)
    return list(session.scalars(query.order_by(*order).limit(most)))


def left_of(session: Session, job_id: int, advertiser: str | None = None) -> tuple[int, int]:
    """Return how many items there are, and how many have no decision."""
    query = select(func.count(), func.count(ReviewItem.decision)).where(ReviewItem.job_id == job_id)
    if advertiser is not None:
        query = query.where(ReviewItem.advertiser == advertiser)
    total, decided = session.execute(query).one()
    return int(total), int(total) - int(decided)


def find_item(
    session: Session, job_id: int, item_id: int, advertiser: str | None, *, lock: bool = True
) -> ReviewItem:
    """Return an item.

    Args:
        session: that writes; that reads without ``lock``.
        job_id: of the retraining.
        item_id: of the item.
        advertiser: whose fixes may be seen; None: all.
        lock: let nobody else change it until the transaction ends.

    Raises:
        NotFound: there is none, or it is of another advertiser.
    """
    item = session.get(ReviewItem, item_id, with_for_update=lock or None)
    hidden = item is not None and advertiser not in (None, item.advertiser)
    if item is None or item.job_id != job_id or hidden:
        raise NotFound("there is no such item", expected="an id of the queue", got=str(item_id))
    return item


def decide(
    job: Job,
    item: ReviewItem,
    decision: Decision,
    classes: Mapping[str, Sequence[str]],
) -> None:
    """Write a decision; a later one replaces it.

    Args:
        job: of the item.
        item: in question.
        decision: about it.
        classes: of each label.

    Raises:
        BadRequest: it does not fit.
        Conflict: the review has ended.
    """
    _check_open(job)
    _check(item, decision, classes)
    item.decision, item.who, item.at = decision.decision, decision.who, datetime.now(UTC)
    item.relabelled = decision.value if decision.decision == RELABEL else None
    item.crop = list(decision.crop) if decision.decision == CROP and decision.crop else None


def take_back(job: Job, item: ReviewItem) -> None:
    """Put an item back into the queue.

    Raises:
        Conflict: the review has ended.
    """
    _check_open(job)
    item.decision, item.relabelled, item.crop, item.who, item.at = None, None, None, "", None


def accept_proposals(session: Session, job_id: int, who: str) -> int:
    """Decide as the filters propose about all that is left; return how many those are."""
    query = select(ReviewItem).where(ReviewItem.job_id == job_id, ReviewItem.decision.is_(None))
    left = session.scalars(query.with_for_update()).all()
    now = datetime.now(UTC)
    for item in left:
        item.decision, item.who, item.at = item.proposal, who, now
    return len(left)


def finish(session: Session, job: Job, who: str, *, accept: bool) -> None:
    """End the review: the retraining goes on.

    Args:
        session: that writes.
        job: whose review it is.
        who: ends it.
        accept: decide as the filters propose about what is left.

    Raises:
        Conflict: there are items without a decision, or the review has ended.
    """
    _check_open(job)
    accepted = accept_proposals(session, job.id, who) if accept else 0
    session.flush()
    _, left = left_of(session, job.id)
    if left:
        raise Conflict(
            "the review has not ended",
            expected="a decision about every item",
            got=f"{left} without one",
            remedy="Decide, or accept the proposals about what is left.",
        )
    job.state, job.worker = WAITING, None
    text = f"review ended by {who}"
    note(session, job.id, text + (f", {accepted} items as proposed" if accepted else ""))


def _check_open(job: Job) -> None:
    if job.state != REVIEW:
        raise Conflict("nothing waits for a review", expected=REVIEW, got=job.state)


def _check(item: ReviewItem, decision: Decision, classes: Mapping[str, Sequence[str]]) -> None:
    if decision.decision not in DECISIONS:
        raise BadRequest(
            "the decision does not fit",
            expected=one_of(DECISIONS, decision.decision),
            got=decision.decision,
        )
    if decision.decision == RELABEL:
        check_class(classes, item.label, decision.value or "")
    if decision.decision == CROP:
        left, top, right, bottom = decision.crop or (0.0, 0.0, 0.0, 0.0)
        inside = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        if not inside or right - left < LEAST_CROP or bottom - top < LEAST_CROP:
            raise BadRequest(
                "the crop does not fit",
                expected=f"left, top, right, bottom in 0 to 1, {LEAST_CROP:.0%} apart at least",
                got=str(decision.crop),
            )
