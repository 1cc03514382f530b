"""The URLs of a batch, and what came of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import func, insert, or_, select
from sqlalchemy.orm import Session

from service.backends.classify import ClassifyOptions
from service.batches.downloads import distinct
from service.database.tables import Job, JobItem
from service.errors import TooManyRequests
from service.jobs.queue import add_job, unfinished

BATCH = "batch"  # the kind of job
RETRY_S = 60


def check_number(session: Session, advertiser: str, most: int) -> None:
    """Check that an advertiser may add a batch: all wait for the same worker.

    Args:
        session: that writes.
        advertiser: whose batches they are.
        most: that may wait or run.

    Raises:
        TooManyRequests: as many do.
    """
    if unfinished(session, BATCH, advertiser) >= most:
        raise TooManyRequests(
            f"too many batches of {advertiser} are not done",
            expected=f"at most {most} that wait or run",
            remedy="Wait until one is done, or send more URLs in one batch.",
            retry_after_s=RETRY_S,
        )


def add_batch(
    session: Session,
    advertiser: str,
    urls: Sequence[str],
    options: ClassifyOptions,
    configured: Mapping[str, str],
) -> Job:
    """Add a batch, to be worked on soon.

    Args:
        session: that writes.
        advertiser: whose images they are.
        urls: of images; one that comes twice is asked once.
        options: of the answers.
        configured: values that win, by label.
    """
    asked = distinct(urls)
    given = {**asdict(options), "configured": dict(configured)}
    job = add_job(session, BATCH, advertiser, given, len(asked))
    rows = [{"job_id": job.id, "number": number, "url": url} for number, url in enumerate(asked)]
    session.execute(insert(JobItem), rows)
    return job


def counts_of(session: Session, job_id: int) -> tuple[int, int]:
    """Return how many items of a job have an answer, and how many were skipped."""
    answered, skipped = session.execute(
        select(func.count(JobItem.sha256), func.count(JobItem.error)).where(
            JobItem.job_id == job_id
        )
    ).one()
    return int(answered), int(skipped)


def counts_of_jobs(session: Session, job_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return how many items of jobs have an answer, and how many were skipped, by job."""
    rows = session.execute(
        select(JobItem.job_id, func.count(JobItem.sha256), func.count(JobItem.error))
        .where(JobItem.job_id.in_(job_ids))
        .group_by(JobItem.job_id)
    )
    return {job_id: (answered, skipped) for job_id, answered, skipped in rows}


def items_of(session: Session, job_id: int, after: int, most: int) -> list[JobItem]:
    """Return the items of a job that have a result, in their order."""
    return list(
        session.scalars(
            select(JobItem)
            .where(
                JobItem.job_id == job_id,
                JobItem.number > after,
                or_(JobItem.sha256.is_not(None), JobItem.error.is_not(None)),
            )
            .order_by(JobItem.number)
            .limit(most)
        )
    )
