"""The jobs table: add a job, find it, say what happened, try it again."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database.tables import Job, JobEvent
from service.errors import Conflict, NotFound

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
REVIEW = "waiting_for_review"  # for people: no worker takes the job until they are done
EVERYBODY = ""  # the advertiser of a job that is about all of them


def add_job(
    session: Session, kind: str, advertiser: str, options: Mapping[str, Any], total: int
) -> Job:
    """Add a job, to be worked on soon.

    Args:
        session: that writes.
        kind: which worker takes it.
        advertiser: whose it is; ``EVERYBODY`` if it is about all.
        options: of the work, as JSON.
        total: number of its steps.
    """
    job = Job(
        kind=kind,
        advertiser=advertiser,
        state=WAITING,
        options=dict(options),
        total=total,
        tries=0,
        created_at=datetime.now(UTC),
        error="",
    )
    session.add(job)
    session.flush()
    return job


def unfinished(session: Session, kind: str, advertiser: str) -> int:
    """Return how many jobs of an advertiser wait or are worked on."""
    query = select(func.count()).select_from(Job)
    query = query.where(Job.kind == kind, Job.advertiser == advertiser)
    return session.scalar(query.where(Job.state.in_((WAITING, RUNNING)))) or 0


def job_of(session: Session, advertiser: str, job_id: int) -> Job:
    """Return a job of an advertiser.

    Raises:
        NotFound: there is none.
    """
    job = session.get(Job, job_id)
    if job is None or job.advertiser != advertiser:
        raise NotFound("there is no such job", expected=f"a job of {advertiser}", got=str(job_id))
    return job


def visible_job(
    session: Session, advertiser: str | None, job_id: int, *, to_change: bool = False
) -> Job:
    """Return a job that somebody may see.

    Args:
        session: that reads, or writes.
        advertiser: of the one who asks; None: all.
        job_id: the job.
        to_change: whether to let nobody else change it meanwhile.

    Raises:
        NotFound: there is none, or it is another's.
    """
    job = session.get(Job, job_id, with_for_update=to_change)
    if job is None or (advertiser is not None and job.advertiser != advertiser):
        expected = f"a job of {advertiser}" if advertiser else "the number of a job"
        raise NotFound("there is no such job", expected=expected, got=str(job_id))
    return job


def last_jobs(
    session: Session, advertiser: str | None, state: str | None, before_id: int | None, most: int
) -> list[Job]:
    """Return jobs, the last ones first.

    Args:
        session: that reads.
        advertiser: whose they are; None: of all, and those about all.
        state: they are in; None: any.
        before_id: jobs before this one, for the next page.
        most: number.
    """
    query = select(Job).order_by(Job.id.desc()).limit(most)
    if advertiser is not None:
        query = query.where(Job.advertiser == advertiser)
    if state is not None:
        query = query.where(Job.state == state)
    if before_id is not None:
        query = query.where(Job.id < before_id)
    return list(session.scalars(query))


def note(session: Session, job_id: int, text: str) -> None:
    """Add a line to a job's log."""
    session.add(JobEvent(job_id=job_id, at=datetime.now(UTC), text=text))


def events_of(session: Session, job_id: int, after: int = 0, most: int = 500) -> list[JobEvent]:
    """Return lines of a job's log, in their order.

    Args:
        session: that reads.
        job_id: the job.
        after: only lines with a higher id.
        most: number.
    """
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
    return list(session.scalars(query.order_by(JobEvent.id).limit(most)))


def last_events(
    session: Session, job_id: int, before: int | None = None, most: int = 500
) -> list[JobEvent]:
    """Return the last lines of a job's log, in their order.

    Args:
        session: that reads.
        job_id: the job.
        before: only lines with a lower id; None: up to the newest.
        most: number.
    """
    query = select(JobEvent).where(JobEvent.job_id == job_id)
    if before is not None:
        query = query.where(JobEvent.id < before)
    return list(session.scalars(query.order_by(JobEvent.id.desc()).limit(most)))[::-1]


def last_lines(session: Session, job_id: int, most: int) -> list[str]:
    """Return the texts of the last lines of a job's log, in their order."""
    return [event.text for event in last_events(session, job_id, most=most)]


def retry(session: Session, job: Job, who: str) -> None:
    """Let a job that failed go on where it was.

    Raises:
        Conflict: it has not failed.
    """
    if job.state != FAILED:
        raise Conflict("only a job that failed can be tried again", expected=FAILED, got=job.state)
    job.state, job.error, job.tries, job.finished_at, job.worker = WAITING, "", 0, None, None
    note(session, job.id, f"tried again by {who}" if who else "tried again")
