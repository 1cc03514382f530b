"""Answer batches: hundreds of URLs of one advertiser, such as a scrape that ended.

    job ─ items without a result ─ sources (URL, validators) ─ download what changed ─ classify

An item has a result as soon as it is written: a process that ends loses nothing but a download, and
a batch that gives way to those of other advertisers goes on where it was.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from augrank.download.fetch import Fetched, Unchanged, Validators
from augrank.errors import RequestError
from augrank.images.decode import DecodeLimits
from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import ClassifyOptions
from service.batches.downloads import Downloads, DownloadSettings, Outcome
from service.batches.log import done_lines, started_line
from service.database.tables import Job, JobItem, Source
from service.errors import AnswerExpired
from service.images.sources import (
    Found,
    known_sources,
    note_seen,
    trim_sources,
)
from service.jobs.queue import last_lines, note
from service.jobs.worker import Claim

CHUNK = 64  # URLs that are downloaded and classified together
MAX_URLS = 1_000_000
TRIM_EVERY = 1000  # new URLs, after which it is looked whether there are too many


class BatchWork:
    """Does what is left of a batch: the work of a ``JobWorker``.

    Args:
        service: classifies.
        settings: of downloads.
        limits: larger images are refused.
        max_urls: of all advertisers, whose image is remembered.
    """

    def __init__(
        self,
        service: ClassifyService,
        settings: DownloadSettings = DownloadSettings(),
        limits: DecodeLimits = DecodeLimits(),
        max_urls: int = MAX_URLS,
    ) -> None:
        self._service, self._settings, self._limits = service, settings, limits
        self._max_urls, self._added = max_urls, 0
        self._database = service.database
        self._gave_way: set[int] = set()  # jobs that go on after others

    def __call__(self, claim: Claim) -> bool:
        """Answer URLs until none is left, it is stopped, or others have waited long enough."""
        given = dict(claim.job.options)
        given.pop("configured")
        if claim.job.id not in self._gave_way:  # else each turn would be a line
            self._note(claim, started_line)
        self._gave_way.discard(claim.job.id)
        had_turn = False
        with Downloads(self._settings, self._limits) as downloads:
            while not claim.stopped():
                items = self._waiting(claim.job.id)
                if not items:
                    self._note(claim, done_lines)
                    return True
                if had_turn and claim.gives_way():
                    self._gave_way.add(claim.job.id)
                    break
                self._answer(claim, items, ClassifyOptions(**given), downloads)
                had_turn = True
        return False

    def _note(self, claim: Claim, lines: Callable[[Session, Job], list[str]]) -> None:
        """Add lines to the job's log, unless they are its last ones, as after a crash."""
        with self._database.writes() as session:
            if not claim.holds(session):
                return
            texts = lines(session, claim.job)
            if last_lines(session, claim.job.id, len(texts)) != texts:
                for text in texts:
                    note(session, claim.job.id, text)

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

    def _answer(
        self,
        claim: Claim,
        items: Sequence[JobItem],
        options: ClassifyOptions,
        downloads: Downloads,
    ) -> None:
        """Download and classify some URLs, and write their results."""
        job = claim.job
        urls = [item.url for item in items]
        known = self._known(job.advertiser, urls, options)
        outcomes: dict[str, Outcome] = {}
        asked = {
            url: Validators(known[url].etag, known[url].last_modified)
            if url in known
            else Validators()
            for url in urls
        }
        downloads(asked, outcomes.__setitem__, claim.stopped, claim.gives_way)
        items = [item for item in items if item.url in outcomes]  # all, unless it ended early
        images = [_image(outcomes[item.url], known.get(item.url)) for item in items]
        answers = self._service(
            ClassifyRequest(job.advertiser, tuple(images), options, job.options["configured"])
        )
        told, failed = list[dict[str, Any]](), list[dict[str, Any]]()
        found, unchanged = list[Found](), list[Source]()
        for item, answer in zip(items, answers, strict=True):
            row = {"job_id": job.id, "number": item.number}
            if answer.error is not None:
                if answer.error.get("code") != AnswerExpired.code:  # else it is downloaded
                    failed.append(row | {"error": dict(answer.error)})
                continue
            told.append(row | {"sha256": answer.sha256})
            outcome = outcomes[item.url]
            if isinstance(outcome, Fetched) and answer.sha256:
                found.append(Found(item.url, answer.sha256, outcome.validators))
            elif isinstance(outcome, Unchanged):
                unchanged.append(known[item.url])
        with self._database.writes() as session:
            if not claim.holds(session):
                return
            for rows in (told, failed):
                if rows:
                    session.execute(update(JobItem), rows)
            note_seen(session, job.advertiser, found, unchanged)
        self._trim(len(found))

    def _known(
        self, advertiser: str, urls: Sequence[str], options: ClassifyOptions
    ) -> dict[str, Source]:
        """Return what was found before at those URLs whose images have an answer."""
        with self._database.reads() as session:
            rows = known_sources(session, advertiser, urls)
        answered = self._service.answered(advertiser, [row.sha256 for row in rows], options)
        return {row.url: row for row in rows if row.sha256 in answered}

    def _trim(self, added: int) -> None:
        self._added += added
        if self._added >= TRIM_EVERY:
            self._added = 0
            with self._database.writes() as session:
                trim_sources(session, self._max_urls)


def _image(outcome: Outcome, known: Source | None) -> bytes | str | RequestError:
    if isinstance(outcome, Fetched):
        return outcome.data
    if isinstance(outcome, Unchanged):
        assert known is not None
        return known.sha256
    return outcome
