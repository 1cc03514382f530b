"""Routes of batches."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from augrank.models.tags import check_configured
from service import batches
from service.api.routes import AdvertiserQuery, service_of
from service.api.schemas import (
    ERRORS,
    MAX_ID,
    BatchItem,
    BatchRequest,
    BatchResults,
    BatchState,
    Id,
)
from service.backends import ClassifyOptions
from service.classify import ClassifyRequest
from service.database.tables import Job
from service.effective import EffectiveAnswer

MAX_PAGE = 1000
router = APIRouter(prefix="/v1/batches", responses=ERRORS)


@router.post("", status_code=202, summary="Classify many URLs")
def add(request: Request, body: BatchRequest) -> BatchState:
    """Classify the images at many URLs of an advertiser, such as those of a scrape.

    The answer comes at once, with the number of the batch. Images are downloaded from public
    addresses only, at a bounded rate for each host; a URL that was seen before is asked whether it
    has changed. What cannot be downloaded is skipped, and listed with its reason.
    """
    service = service_of(request)
    backend = service.backend
    configured = check_configured(backend.tags, backend.labels, body.configured)
    options = ClassifyOptions(body.review_kind, body.coverage, body.top)
    backend.check(options)
    with service.database.writes() as session:
        job = batches.add_batch(session, body.advertiser, body.urls, options, configured)
        state = _state(job, 0, 0)
    request.app.state.batches.wake()
    return state


@router.get("/{job_id}", summary="How far a batch is")
def state(request: Request, job_id: Id, advertiser: AdvertiserQuery) -> BatchState:
    """Return the state of a batch."""
    with service_of(request).database.reads() as session:
        job = batches.job_of(session, advertiser, job_id)
        return _state(job, *batches.counts_of(session, job_id))


@router.get("/{job_id}/results", summary="What came of a batch's URLs")
def results(
    request: Request,
    job_id: Id,
    advertiser: AdvertiserQuery,
    after: Annotated[int, Query(ge=-1, le=MAX_ID)] = -1,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
) -> BatchResults:
    """List the results that there are, in the order of the URLs."""
    service = service_of(request)
    with service.database.reads() as session:
        job = batches.job_of(session, advertiser, job_id)
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
