"""Routes of the inspector: what to look at next, and that an answer is right."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from service.access.advertisers import check_known
from service.access.identity import Identity
from service.answers.effective import FixNote
from service.api import examples
from service.api.common import (
    ERRORS,
    Corrector,
    ErrorDetail,
    Id,
    JsonRoute,
    Name,
    Reader,
    Sha256,
)
from service.database.tables import Review
from service.fixes import queue, reviews
from service.fixes.classes import check_class
from service.fixes.given import Answering
from service.parts import Parts, parts_of

MAX_PAGE, MAX_CONFIRMED, MAX_CURSOR = 200, 200, 400
router = APIRouter(prefix="/v1", responses=ERRORS, route_class=JsonRoute)


class QueueScore(BaseModel):
    """One class of the label."""

    name: str
    probability: float


class FixValue(FixNote, frozen=True):
    """The fix that holds, and its value."""

    value: str


class QueuePicture(BaseModel):
    """A picture to look at."""

    advertiser: str
    sha256: str
    value: str | None = Field(
        description="What the advertiser gets: a fix, a class, or the default of the label's tag; "
        "null: nothing. What a request configures is not known here."
    )
    model_value: str = Field(description="The most probable class.")
    probability: float
    top: list[QueueScore]
    set: list[str] = Field(description="Holds the right class at the stated coverage.")
    model_digest: str
    live: bool = Field(
        description="Whether the model that answers now said so; else it was not asked yet."
    )
    fix: FixValue | None = Field(description="The fix that holds for the advertiser.")
    confirmed_by: str | None
    confirmed_at: datetime | None

    @classmethod
    def of(cls, item: queue.QueueItem) -> "QueuePicture":
        """Return a picture of the queue."""
        fix, review = item.fix, item.review
        return cls(
            advertiser=item.advertiser,
            sha256=item.sha256,
            value=item.given,
            model_value=item.value,
            probability=item.probability,
            top=item.content["top"],
            set=item.content["set"],
            model_digest=item.model,
            live=item.live,
            fix=FixValue(id=fix.id, who=fix.who, why=fix.why, at=fix.at, value=str(fix.after))
            if fix
            else None,
            confirmed_by=review.who if review else None,
            confirmed_at=review.at if review else None,
        )


class QueuePage(BaseModel):
    """Some pictures, those first that the model is least sure of."""

    label: str
    pictures: list[QueuePicture]
    next_after: str | None = Field(description="Ask with after for the next page.")


class QueueProgress(BaseModel):
    """How far the inspection is."""

    left: int = Field(description=f"Pictures; counted up to {queue.MAX_COUNTED:,}.")
    more: bool = Field(description="Whether there are more than left.")
    done: int = Field(description="Pictures whose label a person has corrected or confirmed.")


class SeenAnswer(BaseModel):
    """An image, and the answer that a person saw."""

    model_config = ConfigDict(extra="forbid")

    sha256: Sha256
    value: Name | None = Field(description="What the advertiser gets; null: nothing is told.")


class ConfirmRequest(BaseModel):
    """Answers that are right."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "advertiser": "dealer_007",
                    "label": "colour",
                    "images": [
                        {
                            "sha256": "9f86d081884c7d659a2feaa0c55ad015"
                            "a3bf4f1b2b0b822cd15d6c15b0f00a08",
                            "value": "red",
                        }
                    ],
                    "who": "ana",
                }
            ]
        },
    )

    advertiser: Name
    label: Name
    images: list[SeenAnswer] = Field(min_length=1, max_length=MAX_CONFIRMED)
    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")


class Confirmed(BaseModel):
    """What came of a confirmation."""

    sha256: str
    id: int | None = Field(description="Of the confirmation; undo takes it back.")
    error: ErrorDetail | None = Field(description="Why there is none, such as a fix of another.")


class ConfirmAnswer(BaseModel):
    """What came of each image, in their order."""

    images: list[Confirmed]


class UndoConfirmRequest(BaseModel):
    """Who takes a confirmation back."""

    model_config = ConfigDict(extra="forbid")

    advertiser: Name
    who: Name | None = Field(None, description="Who says so; a key's holder is known without.")


class ReviewRow(BaseModel):
    """A confirmation."""

    id: int
    advertiser: str
    sha256: str
    label: str
    value: str | None
    who: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None

    @classmethod
    def of(cls, review: Review) -> "ReviewRow":
        """Return a row of the database."""
        return cls(**{name: getattr(review, name) for name in cls.model_fields})


class FilterQuery(BaseModel):
    """Which pictures, as a query."""

    model_config = ConfigDict(extra="forbid")

    label: Name = Field(examples=[examples.LABEL])
    advertiser: Name | None = Field(
        None, description="By default all that the key may see.", examples=[examples.ADVERTISER]
    )
    value: Name | None = Field(
        None, description="Only those that the model takes for it.", examples=["red"]
    )
    model: Name | None = Field(
        None, description="Digest; by default the live one, if asked.", examples=[examples.MODEL]
    )
    least: float = Field(0.0, ge=0, le=1, description="Probability of the answer.")
    most: float = Field(1.0, ge=0, le=1, description="Probability of the answer.")
    unsure: bool = Field(False, description="Only those with several classes in their set.")
    state: queue.State = Field("open", description="open: no person has seen it.")


class PageQuery(FilterQuery):
    """Which pictures, and which page of them."""

    after: str | None = Field(None, max_length=MAX_CURSOR)
    limit: int = Field(50, ge=1, le=MAX_PAGE)


def filter_of(parts: Parts, identity: Identity, given: FilterQuery) -> queue.QueueFilter:
    """Return a filter that shows what somebody may see.

    Raises:
        NotFound: the advertiser is another's.
        BadRequest: the model has no such label.
    """
    if given.advertiser is not None:
        identity.check(given.advertiser)
    check_class(parts.classifier.backend.labels, given.label, None)
    return queue.QueueFilter(
        label=given.label,
        advertiser=given.advertiser or identity.advertiser,
        value=given.value,
        model=given.model,
        live=parts.classifier.backend.model,
        least=given.least,
        most=given.most,
        unsure=given.unsure,
        state=given.state,
        tags=parts.classifier.backend.tags,
    )


def answering(parts: Parts) -> Answering:
    """Return the model that answers now; a service without one knows no rules."""
    if parts.classify is None:
        return Answering()
    return Answering(parts.classify.backend.tags, parts.classify.backend.model)


def _check_known(parts: Parts, identity: Identity, given: FilterQuery) -> None:
    if given.advertiser is not None:
        check_known(parts.database, identity, given.advertiser)


@router.get("/queue", summary="Pictures that a person should look at")
def page(request: Request, identity: Reader, given: Annotated[PageQuery, Query()]) -> QueuePage:
    """List pictures that no person has corrected or confirmed, least sure first."""
    parts = parts_of(request)
    _check_known(parts, identity, given)
    chosen = filter_of(parts, identity, given)
    after = queue.Cursor.of(given.after) if given.after else None
    with parts.database.reads() as session:
        items = queue.queue_page(session, chosen, after, given.limit)
        pictures = [QueuePicture.of(item) for item in items]
    last = str(items[-1].cursor) if len(items) == given.limit else None
    return QueuePage(label=chosen.label, pictures=pictures, next_after=last)


@router.get("/queue/progress", summary="How many pictures are left")
def progress(
    request: Request, identity: Reader, given: Annotated[FilterQuery, Query()]
) -> QueueProgress:
    """Count what is left with a filter."""
    parts = parts_of(request)
    _check_known(parts, identity, given)
    with parts.database.reads() as session:
        found = queue.progress(session, filter_of(parts, identity, given))
    return QueueProgress(left=found.left, more=found.more, done=found.done)


@router.post("/confirmations", status_code=201, summary="Say that answers are right")
def confirm(request: Request, identity: Corrector, body: ConfirmRequest) -> ConfirmAnswer:
    """Confirm what the advertiser gets, which a person has looked at, up to 200 images at once.

    Each stands on its own: one that somebody has corrected in the meantime has an `error`, and the
    others are confirmed.
    """
    identity.check(body.advertiser)
    who, parts = identity.named(body.who), parts_of(request)
    given = [reviews.Confirmation(each.sha256, each.value) for each in body.images]
    now = answering(parts)
    with parts.database.writes() as session:
        rows = reviews.confirm(session, body.advertiser, body.label, given, who, now)
        for each, row in zip(given, rows, strict=True):
            if isinstance(row, Review):
                parts.images.keep(each.sha256)  # the next model may learn from it
    results = []
    for each, row in zip(given, rows, strict=True):
        if isinstance(row, Review):
            results.append(Confirmed(sha256=each.sha256, id=row.id, error=None))
        else:
            detail = ErrorDetail(**row.to_dict()["error"])
            results.append(Confirmed(sha256=each.sha256, id=None, error=detail))
    return ConfirmAnswer(images=results)


@router.post("/confirmations/{review_id}/undo", status_code=201, summary="Take a confirmation back")
def undo(
    request: Request, identity: Corrector, review_id: Id, body: UndoConfirmRequest
) -> ReviewRow:
    """Let the picture be looked at again; who said what stays written."""
    identity.check(body.advertiser)
    who = identity.named(body.who)
    with parts_of(request).database.writes() as session:
        return ReviewRow.of(reviews.undo_review(session, body.advertiser, review_id, who))
