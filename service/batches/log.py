"""What a batch writes into its log: where it begins, and what was skipped for which reason."""

from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.batches.items import counts_of
from service.database.tables import Job, JobItem

MAX_REASONS = 20  # the most frequent ones
MAX_TEXT = 300  # characters of a reason


def started_line(session: Session, job: Job) -> list[str]:
    """Return the line of a batch that is taken up."""
    left = job.total - sum(counts_of(session, job.id))
    if left == job.total:
        return [f"started: {job.total:,} URLs"]
    return [f"taken up again: {left:,} of {job.total:,} URLs are left"]


def done_lines(session: Session, job: Job) -> list[str]:
    """Return the lines of a batch that is done: what was skipped, most frequent reason first."""
    answered, skipped = counts_of(session, job.id)
    errors = session.scalars(
        select(JobItem.error).where(JobItem.job_id == job.id, JobItem.error.is_not(None))
    )
    reasons = Counter(_reason(dict(error)) for error in errors if error)
    lines = [f"skipped {count:,}: {reason}" for reason, count in reasons.most_common(MAX_REASONS)]
    if len(reasons) > MAX_REASONS:
        lines.append(f"skipped for {len(reasons) - MAX_REASONS:,} other reasons: see the results")
    return [*lines, f"done: {answered:,} answered, {skipped:,} skipped"]


def _reason(error: dict[str, object]) -> str:
    """Return why a URL was skipped, without what is of this URL alone."""
    message = str(error.get("message", "unknown"))
    return message.partition(": expected ")[0].partition(", got ")[0][:MAX_TEXT]
