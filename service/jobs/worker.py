"""Work on the jobs of one kind, one at a time, in a thread of its own.

A job is a row with its state, its worker, and when that worker was last seen: a job whose worker is
gone is taken over by whatever process there is, and goes on where it was.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from augrank.errors import AugrankError
from service.database.session import Database
from service.database.tables import Job
from service.errors import BackendUnavailable
from service.jobs.queue import DONE, FAILED, RUNNING, WAITING, note

log = logging.getLogger("augrank.service")
GONE_AFTER = timedelta(seconds=60)  # a worker that was not seen for so long
POLL_S = 2.0  # between looks for new jobs
MAX_TRIES = 3  # failures of a worker at a job, after which it is given up


@dataclass(frozen=True)
class Claim:
    """A job that a worker has taken.

    Attributes:
        job: as it was when it was taken.
        worker: name of the worker.
        stopped: whether to end soon; the job goes on at the next start.
    """

    job: Job
    worker: str
    stopped: Callable[[], bool]

    def holds(self, session: Session) -> bool:
        """Lock the job's row; return False if another worker has taken it over."""
        row = session.get(Job, self.job.id, with_for_update=True)
        if row is None or row.worker != self.worker:
            return False
        row.seen_at = datetime.now(UTC)
        return True


# Does the steps that are left; returns whether the job is done (or was stopped).
Work = Callable[[Claim], bool]


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
        """Take the oldest job that nobody works on."""
        gone = datetime.now(UTC) - GONE_AFTER
        free = or_(
            Job.state == WAITING,
            (Job.state == RUNNING) & (or_(Job.seen_at < gone, Job.worker == self._name)),
        )
        query = select(Job).where(Job.kind == self._kind, free).order_by(Job.id).limit(1)
        with self._database.writes() as session:
            job = session.scalar(query.with_for_update(skip_locked=True))
            if job is None:
                return None
            job.state, job.worker, job.seen_at = RUNNING, self._name, datetime.now(UTC)
        return Claim(job, self._name, self._stop.is_set)

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
            except Exception:
                log.exception("a job failed; it is tried again, or given up")
                self._failed(claim)
            self._wake.wait(POLL_S)
            self._wake.clear()

    def _do(self, claim: Claim) -> None:
        try:
            if self._work(claim):
                self._finish(claim, DONE)
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

    def _failed(self, claim: Claim | None) -> None:
        """Count a failure; after several, give the job up."""
        if claim is None:
            return
        with suppress(SQLAlchemyError), self._database.writes() as session:
            row = session.get(Job, claim.job.id, with_for_update=True)
            if row is None or row.worker != self._name:
                return
            row.tries += 1
            note(session, row.id, f"failed, {row.tries} of {MAX_TRIES} times; the log has it")
            if row.tries >= MAX_TRIES:
                row.state, row.finished_at = FAILED, datetime.now(UTC)
                row.error = "internal error; the log has it"

    def _finish(self, claim: Claim, state: str, error: str = "") -> None:
        values: dict[str, Any] = {"state": state, "error": error, "finished_at": datetime.now(UTC)}
        with self._database.writes() as session:
            own = (Job.id == claim.job.id, Job.worker == self._name)
            session.execute(update(Job).where(*own).values(**values))
