"""A job while a worker has it: its stage, its log, and whether it still is the worker's."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from service.database.session import Database
from service.database.tables import Job
from service.jobs.queue import note
from service.jobs.worker import Claim
from service.retraining.jobs import END, STAGES, RetrainOptions, retries_of, stage_of

NOTED_EVERY_S = 30.0  # lines of a command's output
LOOKED_EVERY_S = 2.0  # whether the job is still ours


class LostJobError(Exception):
    """Another worker has taken the job over, or a person has cancelled it."""


class Turn:
    """A job while this worker has it.

    Args:
        database: with the job.
        claim: of the worker.
    """

    def __init__(self, database: Database, claim: Claim) -> None:
        self._database, self._claim = database, claim
        self.job_id = claim.job.id
        self.options = RetrainOptions(**claim.job.options["given"])
        self.retries = retries_of(claim.job)
        self._looked, self._lost, self._said = time.monotonic(), False, float("-inf")

    def job(self) -> Job:
        """Return the job as it is now."""
        with self._database.reads() as session:
            job = session.get(Job, self.job_id)
        if job is None:
            raise LostJobError
        return job

    def stage(self) -> str:
        """Return the stage to do next."""
        return stage_of(self.job())

    def halted(self) -> bool:
        """Return whether to end soon: the service stops, or the job is not ours any more."""
        if self._claim.stopped() or self._lost:
            return True
        if time.monotonic() - self._looked >= LOOKED_EVERY_S:
            self._looked = time.monotonic()
            self._lost = self.job().worker != self._claim.worker
        return self._lost

    def say(self, text: str, *, often: bool = False) -> None:
        """Add a line to the job's log.

        Args:
            text: the line.
            often: such lines come often; only now and then one is written.
        """
        if often and time.monotonic() - self._said < NOTED_EVERY_S:
            return
        self._said = time.monotonic()
        with self._database.writes() as session:
            note(session, self.job_id, text)

    @contextmanager
    def ours(self) -> Iterator[tuple[Session, Job]]:
        """Give a transaction in which the job is ours.

        Raises:
            LostJobError: it is not.
        """
        with self._database.writes() as session:
            if not self._claim.holds(session):
                raise LostJobError
            job = session.get(Job, self.job_id)
            assert job is not None
            yield session, job

    @contextmanager
    def advance(self, **results: Any) -> Iterator[Session]:
        """Give a transaction with which the stage ends.

        Args:
            results: that later stages need, kept with the job's options.
        """
        with self.ours() as (session, job):
            following = (*STAGES[1:], END)[STAGES.index(stage_of(job))]
            yield session
            job.options = {**job.options, **results, "stage": following}
