"""The pages of jobs: what runs, how far it is, what it did, another try, and an end."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from service.access.identity import Identity, Role
from service.api.common import MAX_ID
from service.api.jobs import JobRow, retry, rows_of, visible_jobs
from service.api.retraining import CancelRequest, cancel
from service.batches.items import BATCH
from service.database.tables import NAME
from service.jobs.queue import (
    DONE,
    EVERYBODY,
    FAILED,
    REVIEW,
    RUNNING,
    WAITING,
    last_events,
    visible_job,
)
from service.pages.access import PageAdmin, PageCorrector, PageReader
from service.pages.render import render
from service.parts import parts_of
from service.retraining.jobs import ACTIVE, RETRAIN, STAGES

PAGE, LINES = 25, 100  # jobs; lines of a log
STATES = (WAITING, RUNNING, REVIEW, DONE, FAILED)
SOMEBODY = "somebody"  # who ends a job where nobody has a key
router = APIRouter(include_in_schema=False)
JobId = Annotated[int, Path(ge=1, le=MAX_ID)]


@router.get("/jobs")
def page(
    request: Request,
    identity: PageReader,
    state: Annotated[str, Query(max_length=20)] = "",
    advertiser: Annotated[str, Query(max_length=NAME)] = "",
    before_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> HTMLResponse:
    """Show the last jobs."""
    with parts_of(request).database.reads() as session:
        found = visible_jobs(session, identity, advertiser or None, state or None, before_id, PAGE)
        rows = rows_of(session, found)
    query = {"state": state, "advertiser": advertiser}
    given = {name: value for name, value in query.items() if value}
    older = urlencode({**given, "before_id": rows[-1].id}) if len(rows) == PAGE else ""
    return render(
        request,
        "jobs.html",
        jobs=[_shown(row, identity) for row in rows],
        state=state,
        states=STATES,
        advertiser=advertiser,
        filtered=bool(given),
        older=older,
        address=str(request.base_url).rstrip("/"),
    )


@router.get("/jobs/{job_id}")
def job(
    request: Request,
    identity: PageReader,
    job_id: JobId,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> HTMLResponse:
    """Show a job and the last lines of its log, or those before a line."""
    with parts_of(request).database.reads() as session:
        found = visible_job(session, identity.advertiser, job_id)
        (row,) = rows_of(session, [found])
        lines = last_events(session, job_id, before, LINES + 1)
    older = lines[1].id if len(lines) > LINES else None
    return render(
        request,
        "job.html",
        job=_shown(row, identity),
        lines=lines[-LINES:],
        older=older,
        before=before,
    )


@router.post("/jobs/{job_id}/retry")
def try_again(request: Request, identity: PageCorrector, job_id: JobId) -> Response:
    """Let a job that failed go on, and show it."""
    retry(request, identity, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@router.post("/jobs/{job_id}/cancel")
def end(request: Request, identity: PageAdmin, job_id: JobId) -> Response:
    """End a retraining, and show it."""
    cancel(request, identity, job_id, CancelRequest(who=identity.who or SOMEBODY))
    return RedirectResponse(f"/jobs/{job_id}", 303)


def _shown(row: JobRow, identity: Identity) -> dict[str, Any]:
    """Return what the pages show of a job."""
    batch = row.kind == BATCH
    query = urlencode({"advertiser": row.advertiser})
    least = Role.ADMIN if row.advertiser == EVERYBODY else Role.CORRECT
    decides = row.kind == RETRAIN and identity.role >= Role.ADMIN and identity.advertiser is None
    return {
        **row.model_dump(),
        "ended": row.state in (DONE, FAILED),
        "steps": _steps(row),
        "results": f"/v1/batches/{row.id}/results?{query}" if batch else "",
        "can_retry": row.state == FAILED and identity.role >= least,
        "can_cancel": row.state in ACTIVE and decides,
        "can_review": row.state == REVIEW and decides,
    }


def _steps(row: JobRow) -> int | None:
    """Return how many steps of a job are done; None: its kind does not tell."""
    if row.kind == BATCH:
        return (row.answered or 0) + (row.skipped or 0)
    if row.stage is None:
        return None
    return STAGES.index(row.stage) if row.stage in STAGES else row.total
