"""Download the images of a list of URLs, and write their manifest.

    list ─ URLs ─ journal ─ queue ──── fetch ────────────── images/ ─ manifest.csv, broken.csv
                  finished  rate limit, address, redirects,
                  URLs      back-off    size, decoding

The same call resumes after an earlier one, however that ended. A URL that failed permanently
(no such page, not an image, a private address) is not requested again; a temporary failure is.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from augrank.download.fetch import MAX_WAIT_S, Fetched, Fetcher, open_client
from augrank.download.public_addresses import Guard, PermanentFailure, TemporaryFailure, check_url
from augrank.download.scheduler import PendingUrl, RateLimitedQueue
from augrank.errors import DataError
from augrank.files import atomic_write
from augrank.images.decode import DecodeLimits
from augrank.manifest.problems import MAX_SHOWN_ROWS
from augrank.reporting import Advance, Reporter
from training.download.journal import Journal, UrlRecord, open_journal
from training.download.sources import BROKEN, MANIFEST, LeftOut, read_urls, write_results

IMAGES, JOURNAL = "images", "journal.jsonl"
MAX_BACKOFF_S = 60.0
HOST_FAILURES = 20  # consecutive: the host is down, and its other URLs are left for another call


@dataclass(frozen=True)
class DownloadOptions:
    """How images are requested."""

    per_host: float = 2.0  # rate limit, requests per second
    connections: int = 8  # at a time
    tries: int = 5  # of one URL, in one call
    timeout_s: float = 60.0  # of one request
    contact: str = ""  # of the person downloading, sent to the servers
    retry_broken: bool = False
    backoff_s: float = 1.0  # before the second try; doubles with every try
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        if not self.contact.isascii() or not self.contact.isprintable():
            raise DataError(
                "--contact is not valid",
                expected="a mail address or a page, in ASCII",
                got=ascii(self.contact),
            )


@dataclass(frozen=True)
class DownloadResult:
    """The result of a download."""

    manifest: Path
    rows: int  # of the manifest
    images: int
    existing: int  # images of earlier calls
    left_out: Sequence[LeftOut]


def download(
    source: Path,
    out: Path,
    reporter: Reporter,
    *,
    url_column: str = "url",
    options: DownloadOptions = DownloadOptions(),
    guard: Guard = Guard(),
) -> DownloadResult:
    """Download the images of a list, except those that an earlier call downloaded.

    Args:
        source: a text file of URLs, or a CSV or Parquet file.
        out: folder of images/, manifest.csv, broken.csv and the journal.
        reporter: shows progress.
        url_column: of a CSV or Parquet file.
        options: how images are requested.
        guard: the addresses that may be contacted.

    Raises:
        DataError: the list or the folder cannot be used, or no image was downloaded.
    """
    table = read_urls(source, url_column)
    for note in table.notes:
        reporter.say(f"{source}: {note}")
    urls = [str(url) for url in dict.fromkeys(table.frame[url_column]) if url]
    try:
        with open_journal(out / JOURNAL) as journal:
            _remove_partial(out / IMAGES)
            pending = journal.pending_urls(urls, out, retry_broken=options.retry_broken)
            if pending:
                with reporter.bar("Downloading", len(pending), "images") as advance:
                    asyncio.run(_Job(out, options, guard, journal, advance).run(pending))
            left_out = write_results(table, url_column, journal.records, out)
    except OSError as error:  # network errors never get here
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error
    images = {url for url in urls if journal.records[url].state == "done"}
    if not images:
        raise _no_image(source, left_out, table.unit)
    return DownloadResult(
        manifest=out / MANIFEST,
        rows=len(table.frame) - len(left_out),
        images=len(images),
        existing=len(images.difference(pending)),
        left_out=left_out,
    )


def _remove_partial(images: Path) -> None:
    """Remove unfinished files of killed calls: the journal's lock excludes running ones."""
    for unfinished in images.glob(".*.part.*"):
        unfinished.unlink()


def _no_image(source: Path, left_out: Sequence[LeftOut], unit: str) -> DataError:
    shown = [f"  {unit} {row.line}: {row.url}: {row.reason}" for row in left_out[:MAX_SHOWN_ROWS]]
    if len(left_out) > MAX_SHOWN_ROWS:
        shown.append(f"  ... and {len(left_out) - MAX_SHOWN_ROWS:,} more in {BROKEN}")
    return DataError(
        f"none of the images of {source} could be downloaded\n" + "\n".join(shown),
        remedy="\nCorrect the list, or run the same command again: it retries temporary failures, "
        "and with --retry-broken all of them.",
    )


@dataclass
class _Job:
    """The workers of one call, which try every URL until it is finished."""

    out: Path
    options: DownloadOptions
    guard: Guard
    journal: Journal
    advance: Advance
    queue: RateLimitedQueue = field(init=False)
    done: int = 0
    failed: int = 0
    start: float = field(default_factory=time.monotonic)

    async def run(self, urls: Sequence[str]) -> None:
        options = self.options
        self.queue = RateLimitedQueue(options.per_host)
        for url in urls:
            try:
                self.queue.add(PendingUrl(url, check_url(url).host))
            except PermanentFailure as error:
                self._note(UrlRecord(url, "broken", 0, str(error)))
        async with open_client(
            self.guard,
            connections=options.connections,
            timeout_s=options.timeout_s,
            contact=options.contact,
        ) as client:
            fetcher = Fetcher(client, self.queue, options.timeout_s, options.limits)
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(options.connections):
                        workers.create_task(self._work(fetcher))
            except BaseExceptionGroup as group:  # a full disk, met by one or several workers
                raise group.exceptions[0] from group

    async def _work(self, fetcher: Fetcher) -> None:
        while (pending := await self.queue.next()) is not None:
            pending = replace(pending, tries=pending.tries + 1)
            try:
                image = await fetcher.fetch(pending.url)
            except PermanentFailure as error:
                self.queue.reset_failures(pending.host)
                self._finish(pending, "broken", str(error))
            except TemporaryFailure as error:
                self._retry_or_fail(pending, error)
            except Exception as error:  # noqa: BLE001 - must not end the other URLs
                self._retry_or_fail(pending, TemporaryFailure(f"{type(error).__name__}: {error}"))
            else:
                self.queue.reset_failures(pending.host)
                self._save(pending, image)

    def _save(self, pending: PendingUrl, image: Fetched) -> None:
        name = hashlib.sha256(pending.url.encode()).hexdigest()[:16] + image.suffix
        file = Path(IMAGES) / name
        with atomic_write(self.out / file, fsync=False) as temporary:  # the journal knows its size
            temporary.write_bytes(image.data)
        self.queue.finish()
        self._note(
            UrlRecord(
                pending.url,
                "done",
                pending.tries + self._earlier_tries(pending.url),
                file=file.as_posix(),
                size_bytes=len(image.data),
                sha256=hashlib.sha256(image.data).hexdigest(),
            )
        )

    def _retry_or_fail(self, pending: PendingUrl, failure: TemporaryFailure) -> None:
        """Retry after the back-off, or leave the URL, or its whole host, for another call."""
        in_a_row = self.queue.count_failure(pending.host)
        if failure.wait_s > MAX_WAIT_S:
            self._close(pending.host, f"the host requests a wait of {failure.wait_s:,.0f} s")
        elif in_a_row >= HOST_FAILURES:
            self._close(pending.host, f"the host failed {in_a_row} times in a row: {failure}")
        if pending.tries < self.options.tries and not self.queue.is_closed(pending.host):
            self.queue.retry(pending, max(self._backoff_s(pending.tries), failure.wait_s))
        else:
            self._finish(pending, "failed", str(failure))

    def _backoff_s(self, tries: int) -> float:
        """Return the exponential back-off with jitter, so that retries are spread out."""
        longest = min(MAX_BACKOFF_S, self.options.backoff_s * 2.0 ** min(tries - 1, 20))
        return longest * random.uniform(0.5, 1.0)

    def _close(self, host: str, why: str) -> None:
        for pending in self.queue.close(host):
            self._finish(pending, "failed", why)

    def _finish(self, pending: PendingUrl, state: Literal["broken", "failed"], reason: str) -> None:
        self.queue.finish()
        tries = pending.tries + self._earlier_tries(pending.url)
        self._note(UrlRecord(pending.url, state, tries, reason))

    def _earlier_tries(self, url: str) -> int:
        record = self.journal.records.get(url)
        return record.tries if record else 0

    def _note(self, record: UrlRecord) -> None:
        self.journal.add(record)
        if record.state == "done":
            self.done += 1
        else:
            self.failed += 1
        rate = (self.done + self.failed) / max(1e-3, time.monotonic() - self.start)
        without = f", {self.failed:,} without an image" if self.failed else ""
        self.advance(1, f"{rate:.1f}/s{without}")
