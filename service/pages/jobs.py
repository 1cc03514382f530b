"""The pages of jobs: what runs, how far it is, what it did, and another try."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from service.access.identity import Identity, Role
from service.api.common import MAX_ID
from service.api.jobs import MAX_EVENTS, JobRow, retry, rows_of, visible_jobs
from service.batches.items import BATCH
from service.database.tables import NAME
from service.jobs.queue import DONE, EVERYBODY, FAILED, RUNNING, WAITING, events_of, visible_job
from service.pages.access import PageCorrector, PageReader
from service.pages.render import render
from service.parts import parts_of

PAGE = 25  # jobs
STATES = (WAITING, RUNNING, DONE, FAILED)
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
def job(request: Request, identity: PageReader, job_id: JobId) -> HTMLResponse:
    """Show a job and its log."""
    with parts_of(request).database.reads() as session:
        found = visible_job(session, identity.advertiser, job_id)
        (row,) = rows_of(session, [found])
        lines = events_of(session, job_id, 0, MAX_EVENTS)
    return render(request, "job.html", job=_shown(row, identity), lines=lines)


@router.post("/jobs/{job_id}/retry")
def try_again(request: Request, identity: PageCorrector, job_id: JobId) -> Response:
    """Let a job that failed go on, and show it."""
    retry(request, identity, job_id)
    return RedirectResponse(f"/jobs/{job_id}", 303)


def _shown(row: JobRow, identity: Identity) -> dict[str, Any]:
    """Return what the pages show of a job."""
    batch = row.kind == BATCH
    query = urlencode({"advertiser": row.advertiser})
    least = Role.ADMIN if row.advertiser == EVERYBODY else Role.CORRECT
    return {
        **row.model_dump(),
        "ended": row.state in (DONE, FAILED),
        "steps": (row.answered or 0) + (row.skipped or 0) if batch else None,
        "results": f"/v1/batches/{row.id}/results?{query}" if batch else "",
        "can_retry": row.state == FAILED and identity.role >= least,
    }
