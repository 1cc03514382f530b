"""Work on the jobs of one kind, one at a time, in a thread of its own.

A job is a row with its state, its worker, and when that worker was last seen: a job whose worker is
gone is taken over by whatever process there is, and goes on where it was.

Advertisers take turns: a job that has had its time goes back if a job of another advertiser waits,
and the next one is a job of who was served longest ago.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased

from augrank.errors import AugrankError
from service.database.session import Database
from service.database.tables import Job
from service.errors import BackendFailed, BackendUnavailable
from service.jobs.queue import DONE, FAILED, RUNNING, WAITING, note

log = logging.getLogger("augrank.service")
GONE_AFTER = timedelta(seconds=60)  # a worker that was not seen for so long
POLL_S = 2.0  # between looks for new jobs
TURN_S = 10.0  # after which a job gives way to those of other advertisers
LOOK_S = 1.0  # between looks whether one waits
MAX_TRIES = 3  # failures of a worker at a job, after which it is given up


@dataclass(frozen=True)
class Claim:
    """A job that a worker has taken.

    Attributes:
        job: as it was when it was taken.
        worker: name of the worker.
        stopped: whether to end soon; the job goes on at the next start.
        gives_way: whether to begin nothing more, since others wait; the job goes on after them.
    """

    job: Job
    worker: str
    stopped: Callable[[], bool]
    gives_way: Callable[[], bool]

    def holds(self, session: Session) -> bool:
        """Lock the job's row; return False if another worker has taken it over."""
        row = session.get(Job, self.job.id, with_for_update=True)
        if row is None or row.worker != self.worker:
            return False
        row.seen_at = datetime.now(UTC)
        return True


# Does the steps that are left; returns whether the job is done. It is not if it was stopped, has
# given way to others, or waits for people.
Work = Callable[[Claim], bool]


class _GivesWay:
    """Tells whether a job has had its time and others wait; once it has said so, it says so again.

    Args:
        database: with the jobs.
        job: that is worked on.
    """

    def __init__(self, database: Database, job: Job) -> None:
        self._database, self._job = database, job
        self._look_at, self._others = time.monotonic() + TURN_S, False

    def __call__(self) -> bool:
        """Look now and then."""
        if not self._others and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_S
            job = self._job
            other = (Job.kind == job.kind, Job.advertiser != job.advertiser, Job.state == WAITING)
            with self._database.reads() as session:
                self._others = bool(session.scalar(select(exists().where(*other))))
        return self._others


class JobWorker:
    """Works on jobs of one kind.

    Args:
        database: with the jobs.
        kind: of the jobs.
        work: does what is left of a job, unless it is stopped. An ``AugrankError`` below 500 ends
            the job with that reason; any other error is tried again, at most three times.
    """

    def __init__(self, database: Database, kind: str, work: Work) -> None:
        self._database, self._kind, self._work = database, kind, work
        self._name = secrets.token_hex(8)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{kind} worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """Look for a new job now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the step that is being worked on; the job goes on at the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(60)

    def claim(self) -> Claim | None:
        """Take a job that nobody works on: the oldest one of who was served longest ago."""
        free = (Job.kind == self._kind, self._free())
        oldest = select(func.min(Job.id)).where(*free).group_by(Job.advertiser)
        query = select(Job).where(Job.id.in_(oldest), *free)
        query = query.order_by(_served(self._kind).nulls_first(), Job.id).limit(1)
        with self._database.writes() as session:
            job = session.scalar(query.with_for_update(skip_locked=True))
            if job is None:
                return None
            job.state, job.worker, job.seen_at = RUNNING, self._name, datetime.now(UTC)
        return Claim(job, self._name, self._stop.is_set, _GivesWay(self._database, job))

    def _free(self) -> ColumnElement[bool]:
        """Return which jobs may be taken: those that wait, or whose worker is gone."""
        gone = datetime.now(UTC) - GONE_AFTER
        left = or_(Job.seen_at < gone, Job.worker == self._name)
        return or_(Job.state == WAITING, (Job.state == RUNNING) & left)

    def _run(self) -> None:
        while not self._stop.is_set():
            claim = None
            try:
                claim = self.claim()
                if claim is not None:
                    with self._heartbeat(claim.job.id):
                        self._do(claim)
                    continue
            except SQLAlchemyError:
                log.exception("the database failed; the %s worker tries again", self._kind)
            except BackendUnavailable as error:  # a job does not suffer for it
                log.error("%s; the %s worker tries again", error.problem, self._kind)  # noqa: TRY400
            except Exception as error:
                log.exception("a job failed; it is tried again, or given up")
                self._failed(claim, _in_words(error))
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _do(self, claim: Claim) -> None:
        try:
            if self._work(claim):
                self._finish(claim, DONE)
            elif claim.gives_way() and not claim.stopped():
                self._put_back(claim)
        except AugrankError as error:
            if error.status >= 500:
                raise
            self._finish(claim, FAILED, str(error))

    @contextmanager
    def _heartbeat(self, job_id: int) -> Iterator[None]:
        """Say now and then that this worker lives, until the block ends."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(GONE_AFTER.total_seconds() / 4):
                with suppress(SQLAlchemyError), self._database.writes() as session:
                    session.execute(
                        update(Job)
                        .where(Job.id == job_id, Job.worker == self._name)
                        .values(seen_at=datetime.now(UTC))
                    )

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _failed(self, claim: Claim | None, why: str) -> None:
        """Count a failure; after several, give the job up."""
        if claim is None:
            return
        with suppress(SQLAlchemyError), self._database.writes() as session:
            row = session.get(Job, claim.job.id, with_for_update=True)
            if row is None or row.worker != self._name:
                return
            row.tries += 1
            note(session, row.id, f"failed, {row.tries} of {MAX_TRIES} times: {why}")
            if row.tries >= MAX_TRIES:
                row.state, row.finished_at = FAILED, datetime.now(UTC)
                row.error = why

    def _put_back(self, claim: Claim) -> None:
        """Let a job wait for its next turn; one that a person has ended meanwhile stays ended."""
        own = (Job.id == claim.job.id, Job.worker == self._name, Job.state == RUNNING)
        values = {"state": WAITING, "worker": None, "seen_at": datetime.now(UTC)}
        with self._database.writes() as session:
            session.execute(update(Job).where(*own).values(**values))

    def _finish(self, claim: Claim, state: str, error: str = "") -> None:
        values: dict[str, Any] = {"state": state, "error": error, "finished_at": datetime.now(UTC)}
        with self._database.writes() as session:
            own = (Job.id == claim.job.id, Job.worker == self._name)
            session.execute(update(Job).where(*own).values(**values))


def _in_words(error: Exception) -> str:
    """Return what a job's owner is told: what a request would be, too."""
    return str(error) if isinstance(error, BackendFailed) else "internal error; the log has it"


def _served(kind: str) -> Any:
    """Return when the advertiser of a job was served last, None if never."""
    other = aliased(Job)
    last = select(func.max(other.seen_at)).where(
        other.advertiser == Job.advertiser, other.kind == kind
    )
    return last.scalar_subquery()
