"""Routes of batches."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, FailFast, Field

from augrank.models.tags import check_configured
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP, MAX_CONFIGURED
from service.answers.classify import ClassifyRequest
from service.answers.effective import EffectiveAnswer
from service.api.common import ERRORS, MAX_ID, AdvertiserQuery, Id, JsonRoute, Name, Reader, Url
from service.backends.classify import ClassifyOptions
from service.batches import items as batches
from service.database.tables import NAME, Job
from service.jobs.queue import job_of
from service.parts import parts_of

MAX_PAGE, MAX_URLS = 1000, 50_000
router = APIRouter(prefix="/v1/batches", responses=ERRORS, route_class=JsonRoute)


class BatchRequest(BaseModel):
    """The images of an advertiser, by URL."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "advertiser": "dealer_007",
                    "urls": ["https://cdn.example.com/cars/1.jpg"],
                    "configured": {"colour": "red"},
                }
            ]
        },
    )

    advertiser: Name
    urls: Annotated[list[Url], FailFast()] = Field(min_length=1, max_length=MAX_URLS)
    review_kind: str | None = Field(None, max_length=NAME)
    coverage: float = Field(DEFAULT_COVERAGE, ge=0.5, lt=1)
    top: int = Field(DEFAULT_TOP, ge=1, le=1000)
    configured: dict[str, str] = Field(default_factory=dict, max_length=MAX_CONFIGURED)


class BatchState(BaseModel):
    """How far a batch is."""

    id: int
    advertiser: str
    state: Literal["waiting", "running", "done", "failed"]
    total: int = Field(description="Different URLs.")
    answered: int
    skipped: int = Field(description="URLs without an answer; the results say why.")
    created_at: datetime
    finished_at: datetime | None
    error: str = Field(description="Why it failed.")


class BatchItem(BaseModel):
    """What came of a URL."""

    number: int
    url: str
    answer: EffectiveAnswer


class BatchResults(BaseModel):
    """Results of a batch, in the order of its URLs; fixes of a moment ago are in them."""

    items: list[BatchItem]
    next_after: int | None = Field(description="Ask with after for the next page.")


@router.post("", status_code=202, summary="Classify many URLs")
def add(request: Request, identity: Reader, body: BatchRequest) -> BatchState:
    """Classify the images at many URLs of an advertiser, such as those of a scrape.

    The answer comes at once, with the number of the batch. Images are downloaded from public
    addresses only, at a bounded rate for each host; a URL that was seen before is asked whether it
    has changed. What cannot be downloaded is skipped, and listed with its reason. Few batches of an
    advertiser may wait or run; beyond that the answer is 429.
    """
    identity.check(body.advertiser)
    parts = parts_of(request)
    backend = parts.classifier.backend
    configured = check_configured(backend.tags, backend.labels, body.configured)
    options = ClassifyOptions(body.review_kind, body.coverage, body.top)
    backend.check(options)
    with parts.database.writes() as session:
        batches.check_number(session, body.advertiser, parts.settings.max_batches)
        job = batches.add_batch(session, body.advertiser, body.urls, options, configured)
        state = _state(job, 0, 0)
    parts.workers[batches.BATCH].wake()
    return state


@router.get("/{job_id}", summary="How far a batch is")
def state(
    request: Request, identity: Reader, job_id: Id, advertiser: AdvertiserQuery
) -> BatchState:
    """Return the state of a batch."""
    identity.check(advertiser)
    with parts_of(request).database.reads() as session:
        job = job_of(session, advertiser, job_id)
        return _state(job, *batches.counts_of(session, job_id))


@router.get("/{job_id}/results", summary="What came of a batch's URLs")
def results(
    request: Request,
    identity: Reader,
    job_id: Id,
    advertiser: AdvertiserQuery,
    after: Annotated[int, Query(ge=-1, le=MAX_ID)] = -1,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> BatchResults:
    """List the results that there are, in the order of the URLs."""
    identity.check(advertiser)
    service = parts_of(request).classifier
    with service.database.reads() as session:
        job = job_of(session, advertiser, job_id)
        items = batches.items_of(session, job_id, after, limit)
    given = dict(job.options)
    configured = given.pop("configured")
    good = [item for item in items if item.sha256 is not None]
    images = tuple(str(item.sha256) for item in good)
    options = ClassifyOptions(**given)
    answers = service(ClassifyRequest(advertiser, images, options, configured)) if good else []
    by_number = {item.number: answer for item, answer in zip(good, answers, strict=True)}
    found = [
        BatchItem(
            number=item.number,
            url=item.url,
            answer=by_number.get(item.number) or EffectiveAnswer(sha256=None, error=item.error),
        )
        for item in items
    ]
    return BatchResults(items=found, next_after=items[-1].number if len(items) == limit else None)


def _state(job: Job, answered: int, skipped: int) -> BatchState:
    return BatchState(
        id=job.id,
        advertiser=job.advertiser,
        state=job.state,
        total=job.total,
        answered=answered,
        skipped=skipped,
        created_at=job.created_at,
        finished_at=job.finished_at,
        error=job.error,
    )
