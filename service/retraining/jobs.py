"""Jobs of retraining: one at a time, started by a person or by the calendar."""

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.backends.bundles import CLASSIFY
from service.database.session import Database, lock_for_adding
from service.database.tables import CurrentFix, Dataset, Job, ReviewItem
from service.errors import Conflict
from service.jobs.queue import EVERYBODY, FAILED, REVIEW, RUNNING, WAITING, add_job, note, retry
from service.jobs.worker import Claim, JobWorker, Work
from service.models.registry import live_model

log = logging.getLogger("augrank.service")
RETRAIN = "retrain"  # the kind of job
STAGES = ("collect", "base", "filter", "review", "dataset", "train", "evaluate", "decide")
END = "end"
ACTIVE = (WAITING, RUNNING, REVIEW)
ADDING = 7_202_518  # number of the lock of those who add a retraining
LOOK_EVERY_S = 600.0  # whether the calendar wants a retraining
FEWEST, DEFAULT, MOST = 1, 4, 8  # candidates


class RetrainOptions(BaseModel):
    """What a retraining does.

    Attributes:
        base: manifest, or run, that the live model was trained on; only for the first retraining.
        images: folder of the images of ``base``.
        candidates: number of models that are trained.
        review: whether people look at the fixes; else those with an objection are left out.
        promote: whether a candidate that passes the gate becomes live by itself.
        min_side: shorter sides of fewer pixels are too small.
        settings: options of ``training fit`` for all candidates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str | None = None
    images: str | None = None
    candidates: int = Field(DEFAULT, ge=FEWEST, le=MOST)
    review: bool = True
    promote: bool = False
    min_side: int = Field(64, ge=1, le=10_000)
    settings: dict[str, str | int | float | bool | list[str]] = Field(
        default_factory=dict, max_length=50
    )


def add_retraining(session: Session, options: RetrainOptions, who: str) -> Job:
    """Add a retraining, to be worked on soon.

    Raises:
        Conflict: another one is under way, there is nothing new to learn from, or no live model.
    """
    lock_for_adding(session, ADDING)
    _check_none_active(session)
    if live_model(session, CLASSIFY) is None:
        raise Conflict(
            "there is no classifier to compare with",
            expected="a service with the bundle of one",
            got="none",
            remedy="Start it once: python -m service BUNDLE.",
        )
    if not new_fixes(session) and (options.base is None or last_dataset(session) is not None):
        raise Conflict(
            "there is nothing new to learn from",
            expected="fixes since the last retraining",
            got="none",
        )
    given = options.model_dump()
    job = add_job(session, RETRAIN, EVERYBODY, {"given": given, "stage": STAGES[0]}, len(STAGES))
    note(session, job.id, f"started by {who}")
    return job


def try_again(session: Session, job: Job, who: str) -> None:
    """Let a retraining that failed go on where it was; candidates that failed are trained again.

    Args:
        session: that writes.
        job: the retraining.
        who: wants it.

    Raises:
        Conflict: it has not failed, another one is under way, or has extended the dataset since.
    """
    lock_for_adding(session, ADDING)
    session.refresh(job)  # it may have been tried again while this waited for the lock
    _check_none_active(session, but=job)
    if (later := overtaken(session, job)) is not None:
        raise Conflict(
            f"retraining {job.id} is too old to go on",
            expected="the version of the dataset that it began with",
            got=f"version {later.id}, which another retraining has made since",
            remedy="Start a new one: it learns from the fixes that are left.",
        )
    retry(session, job, who)
    job.options = {**job.options, "retries": retries_of(job) + 1}


def retries_of(job: Job) -> int:
    """Return how often a retraining was tried again."""
    return int(job.options.get("retries", 0))


def overtaken(session: Session, job: Job) -> Dataset | None:
    """Return the version of the dataset that another retraining has made since this one began."""
    last = last_dataset(session)
    if last is None or "parent" not in job.options:  # nothing was looked at yet
        return None
    own = last.id == job.options["parent"] or last.digest == job.options.get("dataset")
    return None if own else last


def _check_none_active(session: Session, but: Job | None = None) -> None:
    job = active_retraining(session)
    if job is not None and (but is None or job.id != but.id):
        raise Conflict(
            f"retraining {job.id} is under way",
            expected="one at a time",
            got=job.state,
            remedy="Let it end, or cancel it.",
        )


def active_retraining(session: Session) -> Job | None:
    """Return the retraining that is under way, if there is one."""
    query = select(Job).where(Job.kind == RETRAIN, Job.state.in_(ACTIVE)).order_by(Job.id)
    return session.scalars(query.limit(1)).first()


def last_retraining(session: Session) -> Job | None:
    """Return the retraining that was added last, if there is one."""
    return session.scalar(select(Job).where(Job.kind == RETRAIN).order_by(Job.id.desc()).limit(1))


def last_dataset(session: Session) -> Dataset | None:
    """Return the last version of the dataset, if there is one."""
    return session.scalar(select(Dataset).order_by(Dataset.id.desc()).limit(1))


def new_fixes(session: Session, advertiser: str | None = None) -> int:
    """Count the fixes that hold and that no version of the dataset has settled.

    Args:
        session: that reads.
        advertiser: whose fixes; None: all.
    """
    query = unsettled()
    if advertiser is not None:
        query = query.where(CurrentFix.advertiser == advertiser)
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def unsettled() -> Any:
    """Return the query of those fixes: not by their ids alone, which may come out of order."""
    taken = select(ReviewItem.fix_id).where(ReviewItem.taken)
    return select(CurrentFix).where(CurrentFix.fix_id.not_in(taken)).order_by(CurrentFix.fix_id)


def cancel(session: Session, job: Job, who: str) -> None:
    """End a retraining; tried again, it goes on where it was.

    Raises:
        Conflict: it has ended.
    """
    if job.state not in ACTIVE:
        raise Conflict("it has ended already", expected=" or ".join(ACTIVE), got=job.state)
    job.state, job.worker, job.error = FAILED, None, f"cancelled by {who}"
    job.finished_at = datetime.now(UTC)
    note(session, job.id, job.error)


def stage_of(job: Job) -> str:
    """Return the stage that a retraining is in."""
    return str(job.options["stage"])


def result_of(job: Job) -> Mapping[str, Any] | None:
    """Return what came of a retraining, once it has ended."""
    found: Mapping[str, Any] | None = job.options.get("result")
    return found


class RetrainWorker(JobWorker):
    """Works on retrainings, and adds one when the calendar wants it.

    Args:
        database: with the jobs.
        work: goes through the stages.
        every_days: between two retrainings; 0: only people start them.
        options: of those that the calendar starts.
    """

    def __init__(
        self,
        database: Database,
        work: Work,
        every_days: float = 0.0,
        options: RetrainOptions = RetrainOptions(),
    ) -> None:
        super().__init__(database, RETRAIN, work)
        self._jobs, self._every, self._options = database, timedelta(days=every_days), options
        self._looked = float("-inf")

    def claim(self) -> Claim | None:
        """Take a retraining; now and then, look whether one is due."""
        if self._every and time.monotonic() - self._looked >= LOOK_EVERY_S:
            self._looked = time.monotonic()
            if add_if_due(self._jobs, self._every, self._options) is not None:
                log.info("the calendar has started a retraining")
        return super().claim()


def add_if_due(database: Database, every: timedelta, options: RetrainOptions) -> int | None:
    """Add a retraining if the last one was long ago, and there is something new; return its id."""
    with database.writes() as session:
        lock_for_adding(session, ADDING)
        last = last_retraining(session)
        if last is not None and (last.state in ACTIVE or last.created_at > _ago(every)):
            return None
        if not new_fixes(session):
            return None
        return add_retraining(session, options, "the calendar").id


def _ago(time: timedelta) -> datetime:
    return datetime.now(UTC) - time
