"""Routes of jobs: how far they are, what they did, and another try."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from service.access.advertisers import check_known
from service.access.identity import Identity, Role
from service.api import examples
from service.api.common import ERRORS, MAX_ID, Corrector, Id, Name, Reader
from service.batches.items import BATCH, counts_of_jobs
from service.database.tables import Job, JobEvent
from service.errors import Forbidden
from service.jobs import queue
from service.parts import parts_of
from service.retraining.jobs import RETRAIN, stage_of, try_again

MAX_PAGE, MAX_EVENTS = 100, 500
router = APIRouter(prefix="/v1/jobs", responses=ERRORS)


class JobRow(BaseModel):
    """How far a job is."""

    id: int
    kind: str = Field(description="Such as batch or retrain.")
    advertiser: str = Field(description="Whose it is; empty if it is about all.")
    state: str = Field(description="waiting, running, waiting_for_review, done or failed.")
    total: int = Field(description="Number of its steps; URLs of a batch.")
    answered: int | None = Field(description="URLs of a batch that have an answer; else null.")
    skipped: int | None = Field(description="URLs of a batch without an answer; else null.")
    stage: str | None = Field(description="That a retraining is in, or end; else null.")
    tries: int = Field(description="How often a worker failed at it.")
    created_at: datetime
    finished_at: datetime | None
    error: str = Field(description="Why it failed.")

    @classmethod
    def of(cls, job: Job, counts: tuple[int, int] | None) -> "JobRow":
        """Return a job of the database.

        Args:
            job: the row.
            counts: URLs of a batch with and without an answer; None for other kinds.
        """
        names = cls.model_fields.keys() - {"answered", "skipped", "stage"}
        answered, skipped = counts or (None, None)
        stage = stage_of(job) if job.kind == RETRAIN else None
        given = {name: getattr(job, name) for name in names}
        return cls(**given, answered=answered, skipped=skipped, stage=stage)


class JobLine(BaseModel):
    """A line of a job's log."""

    id: int
    at: datetime
    text: str

    @classmethod
    def of(cls, event: JobEvent) -> "JobLine":
        """Return a line of the database."""
        return cls(id=event.id, at=event.at, text=event.text)


class JobPage(BaseModel):
    """Some jobs, the last ones first."""

    jobs: list[JobRow]
    next_before_id: int | None = Field(description="Ask with before_id for the next page.")


class JobDetail(BaseModel):
    """A job, and its log."""

    job: JobRow
    lines: list[JobLine]


@router.get("", summary="The jobs")
def jobs(
    request: Request,
    identity: Reader,
    advertiser: Annotated[
        Name | None,
        Query(description="By default all of the key.", examples=[examples.ADVERTISER]),
    ] = None,
    state: Annotated[
        str | None, Query(max_length=20, description="By default any.", examples=["failed"])
    ] = None,
    before_id: Annotated[Id | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> JobPage:
    """List jobs of the advertiser of the key, or of all."""
    database = parts_of(request).database
    if advertiser is not None:
        check_known(database, identity, advertiser)
    with database.reads() as session:
        found = visible_jobs(session, identity, advertiser, state, before_id, limit)
        rows = rows_of(session, found)
    last = rows[-1].id if len(rows) == limit else None
    return JobPage(jobs=rows, next_before_id=last)


@router.get("/{job_id}", summary="A job and its log")
def job(
    request: Request,
    identity: Reader,
    job_id: Id,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="Only later lines.")] = 0,
) -> JobDetail:
    """Return how far a job is, and what it did."""
    with parts_of(request).database.reads() as session:
        found = queue.visible_job(session, identity.advertiser, job_id)
        lines = queue.events_of(session, job_id, after, MAX_EVENTS)
        (row,) = rows_of(session, [found])
        return JobDetail(job=row, lines=[JobLine.of(line) for line in lines])


@router.post("/{job_id}/retry", status_code=202, summary="Try a job that failed again")
def retry(request: Request, identity: Corrector, job_id: Id) -> JobRow:
    """Let a job that failed go on where it was."""
    parts = parts_of(request)
    with parts.database.writes() as session:
        found = queue.visible_job(session, identity.advertiser, job_id, to_change=True)
        check_retry(identity, found)
        again = try_again if found.kind == RETRAIN else queue.retry
        again(session, found, identity.who)
        (row,) = rows_of(session, [found])
    if row.kind in parts.workers:
        parts.workers[row.kind].wake()
    return row


def check_retry(identity: Identity, job: Job) -> None:
    """Check that somebody may try a job again.

    Raises:
        Forbidden: it is about everybody, such as a retraining.
    """
    if job.advertiser == queue.EVERYBODY and identity.role < Role.ADMIN:
        raise Forbidden(
            "this job is about all advertisers",
            expected=f"the role {Role.ADMIN.name.lower()}",
            got=identity.role.name.lower(),
            remedy="Ask an administrator to try it again.",
        )


def visible_jobs(
    session: Session,
    identity: Identity,
    advertiser: str | None,
    state: str | None,
    before_id: int | None,
    most: int,
) -> list[Job]:
    """Return the jobs that somebody may see, the last ones first; see ``queue.last_jobs``.

    Raises:
        NotFound: the advertiser is another's.
    """
    if advertiser is not None:
        identity.check(advertiser)
    whose = advertiser or identity.advertiser
    return queue.last_jobs(session, whose, state, before_id, most)


def rows_of(session: Session, jobs: Sequence[Job]) -> list[JobRow]:
    """Return jobs with their counts."""
    batches = [job.id for job in jobs if job.kind == BATCH]
    counts = counts_of_jobs(session, batches)
    return [
        JobRow.of(job, counts.get(job.id, (0, 0)) if job.kind == BATCH else None) for job in jobs
    ]
