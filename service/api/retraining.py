"""Routes of retraining: start it, follow it, and look through the fixes that it learns from."""

import io
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from augrank.images.decode import decode
from service.access.identity import Identity
from service.api.common import ERRORS, Admin, Id, JsonRoute, Name
from service.database.tables import Job, ReviewItem
from service.errors import Forbidden, ImageExpired, NotFound
from service.images.versions import Box
from service.jobs.queue import EVERYBODY, job_of
from service.parts import parts_of
from service.retraining import jobs, review
from service.retraining.filters import in_words

MAX_PAGE, SHOWN_PX, QUALITY = 100, 800, 88
router = APIRouter(prefix="/v1/retraining", responses=ERRORS, route_class=JsonRoute)
Who = Annotated[Name | None, Field(description="Who says so; a key's holder is known without.")]
Share = Annotated[float, Field(ge=0, le=1)]
Decision = Literal["keep", "drop", "relabel", "crop"]


class RetrainRequest(BaseModel):
    """What a retraining is to do."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"candidates": 4, "who": "eva"}]}
    )

    candidates: int = Field(
        jobs.DEFAULT, ge=jobs.FEWEST, le=jobs.MOST, description="Models that are trained."
    )
    review: bool = Field(True, description="Whether people look at the fixes first.")
    promote: bool = Field(False, description="Whether what passes the gate answers at once.")
    min_side: int = Field(64, ge=1, le=10_000, description="Shorter sides are too small.")
    who: Who = None


class CancelRequest(BaseModel):
    """Who ends a retraining."""

    model_config = ConfigDict(extra="forbid")

    who: Who = None


class FinishRequest(BaseModel):
    """Who ends the review."""

    model_config = ConfigDict(extra="forbid")

    accept: bool = Field(False, description="Decide about what is left as the filters propose.")
    who: Who = None


class DecisionRequest(BaseModel):
    """What a person says of a fix."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"decision": "crop", "crop": [0.1, 0.0, 0.9, 0.8], "who": "eva"}]
        },
    )

    decision: Decision
    value: Name | None = Field(None, description="The right class, with relabel.")
    crop: tuple[Share, Share, Share, Share] | None = Field(
        None, description="Left, top, right, bottom of what is left, with crop."
    )
    who: Who = None


class RetrainState(BaseModel):
    """How far a retraining is."""

    id: int
    state: Literal["waiting", "running", "waiting_for_review", "done", "failed"]
    stage: str = Field(description="Of " + ", ".join(jobs.STAGES) + "; then end.")
    created_at: datetime
    finished_at: datetime | None
    error: str = Field(description="Why it failed.")
    fixes: int = Field(description="That it looks at.")
    undecided: int = Field(description="Of them, those that wait for a decision.")
    result: dict[str, Any] | None = Field(
        description="The model that was chosen, or why none was; for keys of all advertisers."
    )


class Retraining(BaseModel):
    """The last retraining, and whether there is something to learn from since."""

    last: RetrainState | None
    new_fixes: int = Field(description="That no version of the dataset has settled.")


class Told(BaseModel):
    """What the live model says of an image."""

    value: str
    probability: float


class Item(BaseModel):
    """A fix that waits for a decision, or has one."""

    id: int
    fix_id: int
    sha256: str
    advertiser: str
    label: str
    value: str = Field(description="What the fix says.")
    told: Told | None
    reasons: list[str] = Field(description="What speaks against it, in words.")
    proposal: Literal["keep", "drop"]
    decision: Decision | None
    relabelled: str | None
    crop: list[float] | None
    who: str
    at: datetime | None

    @classmethod
    def of(cls, item: ReviewItem, advertiser: str | None) -> "Item":
        """Return an item, for somebody who may see one advertiser or all."""
        names = cls.model_fields.keys() - {"told", "reasons"}
        return cls(
            **{name: getattr(item, name) for name in names},
            told=Told(**item.told) if item.told else None,
            reasons=[in_words(reason, advertiser) for reason in item.reasons],
        )


class Queue(BaseModel):
    """What waits for a decision: those with an objection first."""

    items: list[Item]
    total: int
    undecided: int
    classes: dict[str, list[str]] = Field(description="Of each label.")


@router.post("", status_code=202, summary="Learn from what people corrected")
def start(request: Request, identity: Admin, body: RetrainRequest) -> RetrainState:
    """Start a retraining: one at a time, and only if there is something new to learn from.

    It goes on in the background, at idle priority. What the first one also learns from, the data
    of the live model, is given on the command line: `python -m service retrain --base`.
    """
    _check_everybody(identity)
    parts = parts_of(request)
    who = identity.named(body.who)
    options = jobs.RetrainOptions(**body.model_dump(exclude={"who"}))
    with parts.database.writes() as session:
        state = _state(session, jobs.add_retraining(session, options, who), identity)
    parts.workers[jobs.RETRAIN].wake()
    return state


@router.get("", summary="The last retraining")
def last(request: Request, identity: Admin) -> Retraining:
    """Return how far the last retraining is, and how many fixes have come since."""
    with parts_of(request).database.reads() as session:
        job = jobs.last_retraining(session)
        return Retraining(
            last=_state(session, job, identity) if job else None,
            new_fixes=jobs.new_fixes(session, identity.advertiser),
        )


@router.get("/{job_id}", summary="How far a retraining is")
def state(request: Request, identity: Admin, job_id: Id) -> RetrainState:
    """Return the state of a retraining."""
    with parts_of(request).database.reads() as session:
        return _state(session, _job(session, job_id), identity)


@router.post("/{job_id}/cancel", summary="End a retraining")
def cancel(request: Request, identity: Admin, job_id: Id, body: CancelRequest) -> RetrainState:
    """End a retraining. Tried again, it goes on where it was."""
    _check_everybody(identity)
    who = identity.named(body.who)
    with parts_of(request).database.writes() as session:
        job = _job(session, job_id, lock=True)
        jobs.cancel(session, job, who)
        return _state(session, job, identity)


@router.get("/{job_id}/review", summary="The fixes that wait for a decision")
def queue(
    request: Request,
    identity: Admin,
    job_id: Id,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
) -> Queue:
    """List undecided fixes: those that the filters object to first."""
    parts = parts_of(request)
    with parts.database.reads() as session:
        _job(session, job_id)
        total, undecided = review.left_of(session, job_id, identity.advertiser)
        items = review.next_items(session, job_id, identity.advertiser, limit)
        return Queue(
            items=[Item.of(item, identity.advertiser) for item in items],
            total=total,
            undecided=undecided,
            classes={name: list(each) for name, each in parts.classifier.backend.labels.items()},
        )


@router.put("/{job_id}/review/{item_id}", summary="Decide about a fix")
def decide(
    request: Request, identity: Admin, job_id: Id, item_id: Id, body: DecisionRequest
) -> Item:
    """Keep a fix as an example to learn from, drop it, give it another label, or crop it.

    The fix itself stays as it is: this is about what the next model learns.
    """
    parts = parts_of(request)
    decision = review.Decision(
        body.decision, identity.named(body.who), value=body.value, crop=body.crop
    )
    classes = parts.classifier.backend.labels
    with parts.database.writes() as session:
        job = _job(session, job_id, lock=True)
        item = review.find_item(session, job_id, item_id, identity.advertiser)
        review.decide(job, item, decision, classes)
        return Item.of(item, identity.advertiser)


@router.post("/{job_id}/review/{item_id}/undo", summary="Take a decision back")
def undo(request: Request, identity: Admin, job_id: Id, item_id: Id) -> Item:
    """Put a fix back into the queue."""
    with parts_of(request).database.writes() as session:
        job = _job(session, job_id, lock=True)
        item = review.find_item(session, job_id, item_id, identity.advertiser)
        review.take_back(job, item)
        return Item.of(item, identity.advertiser)


@router.post("/{job_id}/finish", summary="End the review")
def finish(request: Request, identity: Admin, job_id: Id, body: FinishRequest) -> RetrainState:
    """Let the retraining go on, once there is a decision about every fix."""
    _check_everybody(identity)
    parts = parts_of(request)
    who = identity.named(body.who)
    with parts.database.writes() as session:
        job = _job(session, job_id, lock=True)
        review.finish(session, job, who, accept=body.accept)
        state = _state(session, job, identity)
    parts.workers[jobs.RETRAIN].wake()
    return state


@router.get(
    "/{job_id}/review/{item_id}/image",
    summary="The image of a fix",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}},
)
def image(request: Request, identity: Admin, job_id: Id, item_id: Id) -> Response:
    """Return the image as JPEG, at most 800 pixels wide and high."""
    parts = parts_of(request)
    with parts.database.reads() as session:
        item = review.find_item(session, job_id, item_id, identity.advertiser, lock=False)
    data = parts.images.read(item.sha256)
    if data is None:
        raise ImageExpired.of(item.sha256, remedy="Drop the fix.")
    decoded = decode(data, SHOWN_PX, parts.limits)
    box = Box.letterboxed(decoded.width, decoded.height, SHOWN_PX)
    buffer = io.BytesIO()
    pixels = decoded.pixels[box.top : box.bottom, box.left : box.right]
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(buffer.getvalue(), media_type="image/jpeg", headers=headers)


def _check_everybody(identity: Identity) -> None:
    """Check that somebody may decide for all advertisers: they share the model.

    Raises:
        Forbidden: the key is for one.
    """
    if identity.advertiser is not None:
        raise Forbidden(
            "this key does not allow it",
            expected="a key of all advertisers: they share the model",
            got=f"one of {identity.advertiser}",
            remedy="Ask an administrator of all advertisers.",
        )


def _job(session: Session, job_id: int, *, lock: bool = False) -> Job:
    if lock:
        session.get(Job, job_id, with_for_update=True)
    job = job_of(session, EVERYBODY, job_id)
    if job.kind != jobs.RETRAIN:
        raise NotFound("there is no such retraining", expected="its number", got=str(job_id))
    return job


def _state(session: Session, job: Job, identity: Identity) -> RetrainState:
    fixes, undecided = review.left_of(session, job.id, identity.advertiser)
    result = jobs.result_of(job) if identity.advertiser is None else None
    return RetrainState(
        id=job.id,
        state=job.state,
        stage=jobs.stage_of(job),
        created_at=job.created_at,
        finished_at=job.finished_at,
        error=job.error if identity.advertiser is None else "",
        fixes=fixes,
        undecided=undecided,
        result=dict(result) if result else None,
    )
