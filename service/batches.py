"""Batches: hundreds of URLs of one advertiser, such as a scrape that ended.

    job ─ items without a result ─ sources (URL, validators) ─ download what changed ─ classify
     └─ state, worker, last seen: a job whose worker is gone is taken over, and goes on

An item has a result as soon as it is written: a process that ends loses nothing but a download.
"""

import hashlib
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from augrank.download.fetch import Fetched, Unchanged, Validators
from augrank.errors import AugrankError, RequestError
from augrank.images.decode import DecodeLimits
from service.backends import ClassifyOptions
from service.classify import ClassifyRequest, ClassifyService
from service.database.tables import Job, JobItem, Source
from service.downloads import DownloadSettings, Outcome, distinct, download
from service.errors import AnswerExpired, NotFound

log = logging.getLogger("augrank.service")
CHUNK = 64  # URLs that are downloaded and classified together
WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
GONE_AFTER = timedelta(seconds=60)  # a worker that was not seen for so long
POLL_S = 2.0  # between looks for new jobs
MAX_TRIES = 3  # failures of a worker at a job, after which it is given up


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
    job = Job(
        kind="batch",
        advertiser=advertiser,
        state=WAITING,
        options={**asdict(options), "configured": dict(configured)},
        total=len(asked),
        tries=0,
        created_at=datetime.now(UTC),
        error="",
    )
    session.add(job)
    session.flush()
    rows = [{"job_id": job.id, "number": number, "url": url} for number, url in enumerate(asked)]
    session.execute(insert(JobItem), rows)
    return job


def job_of(session: Session, advertiser: str, job_id: int) -> Job:
    """Return a job of an advertiser.

    Raises:
        NotFound: there is none.
    """
    job = session.get(Job, job_id)
    if job is None or job.advertiser != advertiser:
        raise NotFound("there is no such job", expected=f"a job of {advertiser}", got=str(job_id))
    return job


def counts_of(session: Session, job_id: int) -> tuple[int, int]:
    """Return how many items of a job have an answer, and how many were skipped."""
    answered, skipped = session.execute(
        select(func.count(JobItem.sha256), func.count(JobItem.error)).where(
            JobItem.job_id == job_id
        )
    ).one()
    return int(answered), int(skipped)


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


class BatchWorker:
    """Works on jobs in a thread of its own, one at a time.

    Args:
        service: classifies.
        settings: of downloads.
        limits: larger images are refused.
    """

    def __init__(
        self,
        service: ClassifyService,
        settings: DownloadSettings = DownloadSettings(),
        limits: DecodeLimits = DecodeLimits(),
    ) -> None:
        self._service, self._settings, self._limits = service, settings, limits
        self._database = service.database
        self._name = secrets.token_hex(8)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """Look for a new job now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the URLs that are being worked on; the job goes on at the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            job = None
            try:
                job = self._claimed()
                if job is not None:
                    with self._heartbeat(job.id):
                        self._work(job)
                    continue
            except SQLAlchemyError:
                log.exception("the database failed; the batch worker tries again")
            except Exception:
                log.exception("a batch failed; it is tried again, or given up")
                self._failed(job)
            self._wake.wait(POLL_S)
            self._wake.clear()

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

    def _failed(self, job: Job | None) -> None:
        """Count a failure; after several, give the job up."""
        if job is None:
            return
        with suppress(SQLAlchemyError), self._database.writes() as session:
            row = session.get(Job, job.id, with_for_update=True)
            if row is None or row.worker != self._name:
                return
            row.tries += 1
            if row.tries >= MAX_TRIES:
                row.state, row.finished_at = FAILED, datetime.now(UTC)
                row.error = "internal error; the log has it"

    def _claimed(self) -> Job | None:
        """Take the oldest job that nobody works on."""
        gone = datetime.now(UTC) - GONE_AFTER
        free = or_(
            Job.state == WAITING,
            (Job.state == RUNNING) & (or_(Job.seen_at < gone, Job.worker == self._name)),
        )
        with self._database.writes() as session:
            job = session.scalar(
                select(Job).where(free).order_by(Job.id).limit(1).with_for_update(skip_locked=True)
            )
            if job is not None:
                job.state, job.worker, job.seen_at = RUNNING, self._name, datetime.now(UTC)
        return job

    def _work(self, job: Job) -> None:
        options = {name: value for name, value in job.options.items() if name != "configured"}
        try:
            while not self._stop.is_set():
                items = self._waiting(job.id)
                if not items:
                    self._finish(job.id, DONE)
                    return
                self._answer(job, items, ClassifyOptions(**options))
        except AugrankError as error:
            if error.status >= 500:
                raise
            self._finish(job.id, FAILED, str(error))

    def _waiting(self, job_id: int) -> list[JobItem]:
        with self._database.reads() as session:
            return list(
                session.scalars(
                    select(JobItem)
                    .where(
                        JobItem.job_id == job_id,
                        JobItem.sha256.is_(None),
                        JobItem.error.is_(None),
                    )
                    .order_by(JobItem.number)
                    .limit(CHUNK)
                )
            )

    def _answer(self, job: Job, items: Sequence[JobItem], options: ClassifyOptions) -> None:
        """Download and classify some URLs, and write their results."""
        urls = [item.url for item in items]
        known = self._known(job.advertiser, urls, options)
        outcomes: dict[str, Outcome] = {}
        asked = {
            url: Validators(known[url].etag, known[url].last_modified)
            if url in known
            else Validators()
            for url in urls
        }
        download(asked, self._settings, self._limits, outcomes.__setitem__, self._stop.is_set)
        items = [item for item in items if item.url in outcomes]  # all, unless it was stopped
        urls = [item.url for item in items]
        images = [_image(outcomes[url], known.get(url)) for url in urls]
        answers = self._service(
            ClassifyRequest(job.advertiser, tuple(images), options, job.options["configured"])
        )
        with self._database.writes() as session:
            current = session.get(Job, job.id, with_for_update=True)
            if current is None or current.worker != self._name:
                return  # another worker has taken it over
            current.seen_at = datetime.now(UTC)
            for item, answer in zip(items, answers, strict=True):
                outcome, row = outcomes[item.url], session.get(JobItem, (job.id, item.number))
                assert row is not None
                if answer.error is not None:
                    if answer.error.get("code") != AnswerExpired.code:  # else it is downloaded
                        row.error = dict(answer.error)
                    continue
                row.sha256 = answer.sha256
                if isinstance(outcome, Fetched) and answer.sha256:
                    _note(session, job.advertiser, item.url, answer.sha256, outcome.validators)

    def _known(
        self, advertiser: str, urls: Sequence[str], options: ClassifyOptions
    ) -> dict[str, Source]:
        """Return what was found before at those URLs whose images have an answer."""
        digests = {_digest(url): url for url in urls}
        with self._database.reads() as session:
            rows = list(
                session.scalars(
                    select(Source).where(
                        Source.advertiser == advertiser, Source.url_digest.in_(digests)
                    )
                )
            )
        answered = self._service.answered([row.sha256 for row in rows], options)
        return {row.url: row for row in rows if row.sha256 in answered}

    def _finish(self, job_id: int, state: str, error: str = "") -> None:
        values: dict[str, Any] = {"state": state, "error": error, "finished_at": datetime.now(UTC)}
        with self._database.writes() as session:
            own = (Job.id == job_id, Job.worker == self._name)
            session.execute(update(Job).where(*own).values(**values))


def _image(outcome: Outcome, known: Source | None) -> bytes | str | RequestError:
    if isinstance(outcome, Fetched):
        return outcome.data
    if isinstance(outcome, Unchanged):
        assert known is not None
        return known.sha256
    return outcome


def _note(session: Session, advertiser: str, url: str, sha256: str, validators: Validators) -> None:
    """Note what was found at a URL."""
    source = session.get(Source, (advertiser, _digest(url)))
    if source is None:
        source = Source(advertiser=advertiser, url_digest=_digest(url), url=url)
        session.add(source)
    source.sha256, source.checked_at = sha256, datetime.now(UTC)
    source.etag, source.last_modified = validators.etag, validators.last_modified


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
