"""Images from a list of URLs, and the manifest of those that came.

    list ─ urls ─ journal ─ queue ─ fetch ─ images/ ─ manifest.csv, broken.csv
                  what is    whose   address, redirects,
                  left       turn    limits, decoding

The same call goes on where an earlier one ended, however that ended. A URL that is broken for good
(no such page, not an image, a private address) is not asked again; one that failed for now is.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from augrank.errors import DataError
from augrank.files import atomic_write
from augrank.images.decode import DecodeLimits
from augrank.reporting import Advance, Reporter
from training.data.manifest.read import SHOWN_PROBLEMS
from training.download.fetch import LONGEST_WAIT_S, Fetched, Fetcher, open_client
from training.download.journal import Journal, Record, open_journal
from training.download.public_addresses import Broken, Failed, Guard, check_url
from training.download.scheduler import Asked, Queue
from training.download.sources import BROKEN, MANIFEST, LeftOut, read_urls, write_results

IMAGES, JOURNAL = "images", "journal.jsonl"
LONGEST_BACKOFF_S = 60.0
HOST_FAILURES = 20  # in a row: the host is down, and its other URLs are left for another call


@dataclass(frozen=True)
class DownloadOptions:
    """How images are asked for."""

    per_host: float = 2.0  # requests per second
    connections: int = 8  # at a time
    tries: int = 5  # of one URL, in one call
    timeout_s: float = 60.0  # of one request
    contact: str = ""  # who is downloading: sent to the servers
    retry_broken: bool = False
    backoff_s: float = 1.0  # before the second try; doubles with each
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        if not self.contact.isascii() or not self.contact.isprintable():
            raise DataError(
                "--contact does not fit",
                expected="a mail address or a page, in ASCII",
                got=ascii(self.contact),
            )


@dataclass(frozen=True)
class Downloaded:
    """What came of a list."""

    manifest: Path
    rows: int  # of the manifest
    images: int
    there_already: int  # of the images
    left_out: Sequence[LeftOut]


def download(
    source: Path,
    out: Path,
    reporter: Reporter,
    *,
    url_column: str = "url",
    options: DownloadOptions = DownloadOptions(),
    guard: Guard = Guard(),
) -> Downloaded:
    """Download what a list names, or what an earlier call left of it.

    Args:
        source: a text file of URLs, or a CSV or Parquet file.
        out: folder of images/, manifest.csv, broken.csv and the journal.
        reporter: shows progress.
        url_column: of a CSV or Parquet file.
        options: how images are asked for.
        guard: which addresses may be asked.

    Raises:
        DataError: the list or the folder cannot be used, or no image came.
    """
    table = read_urls(source, url_column)
    urls = [str(url) for url in dict.fromkeys(table.frame[url_column]) if url]
    try:
        with open_journal(out / JOURNAL) as journal:
            _clear(out / IMAGES)
            left = journal.open_urls(urls, out, retry_broken=options.retry_broken)
            if left:
                with reporter.bar("Downloading", len(left), "images") as advance:
                    asyncio.run(_Job(out, options, guard, journal, advance).run(left))
            left_out = write_results(table, url_column, journal.records, out)
    except OSError as error:  # what the network does wrong never comes this far
        raise DataError(f"cannot write {out}: {error.strerror or error}") from error
    images = {url for url in urls if journal.records[url].state == "done"}
    if not images:
        raise _nothing_came(source, left_out, table.unit)
    return Downloaded(
        manifest=out / MANIFEST,
        rows=len(table.frame) - len(left_out),
        images=len(images),
        there_already=len(images.difference(left)),
        left_out=left_out,
    )


def _clear(images: Path) -> None:
    """Remove what a killed call left half written; the journal's lock says that none is running."""
    for unfinished in images.glob(".*.part.*"):
        unfinished.unlink()


def _nothing_came(source: Path, left_out: Sequence[LeftOut], unit: str) -> DataError:
    shown = [f"  {unit} {row.line}: {row.url}: {row.reason}" for row in left_out[:SHOWN_PROBLEMS]]
    if len(left_out) > SHOWN_PROBLEMS:
        shown.append(f"  ... and {len(left_out) - SHOWN_PROBLEMS:,} more in {BROKEN}")
    return DataError(
        f"none of the images of {source} came\n" + "\n".join(shown),
        remedy="\nMend the list, or run the same command again: it asks those again that failed "
        "for now, and with --retry-broken all of them.",
    )


@dataclass
class _Job:
    """One call's work: every URL is tried until it is settled."""

    out: Path
    options: DownloadOptions
    guard: Guard
    journal: Journal
    advance: Advance
    queue: Queue = field(init=False)
    came: int = 0
    missing: int = 0
    start: float = field(default_factory=time.monotonic)

    async def run(self, urls: Sequence[str]) -> None:
        options = self.options
        self.queue = Queue(options.per_host)
        for url in urls:
            try:
                self.queue.add(Asked(url, check_url(url).host))
            except Broken as error:
                self._note(Record(url, "broken", 0, str(error)))
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
            except BaseExceptionGroup as group:  # a full disk, met by one or several
                raise group.exceptions[0] from group

    async def _work(self, fetcher: Fetcher) -> None:
        while (asked := await self.queue.next()) is not None:
            asked = replace(asked, tries=asked.tries + 1)
            try:
                image = await fetcher.fetch(asked.url)
            except Broken as error:
                self.queue.answered(asked.host)
                self._settle(asked, "broken", str(error))
            except Failed as error:
                self._failed(asked, error)
            except Exception as error:  # noqa: BLE001 - one URL's surprise must not end the others
                self._failed(asked, Failed(f"{type(error).__name__}: {error}"))
            else:
                self.queue.answered(asked.host)
                self._keep(asked, image)

    def _keep(self, asked: Asked, image: Fetched) -> None:
        name = hashlib.sha256(asked.url.encode()).hexdigest()[:16] + image.suffix
        file = Path(IMAGES) / name
        with atomic_write(self.out / file, fsync=False) as temporary:  # the journal knows its size
            temporary.write_bytes(image.data)
        self.queue.settle()
        self._note(
            Record(
                asked.url,
                "done",
                asked.tries + self._earlier_tries(asked.url),
                file=file.as_posix(),
                size_bytes=len(image.data),
                sha256=hashlib.sha256(image.data).hexdigest(),
            )
        )

    def _failed(self, asked: Asked, failure: Failed) -> None:
        """Try again later, or leave it for another call, and its whole host if that is down."""
        in_a_row = self.queue.failed(asked.host)
        if failure.wait_s > LONGEST_WAIT_S:
            self._close(asked.host, f"the host asks to wait {failure.wait_s:,.0f} s")
        elif in_a_row >= HOST_FAILURES:
            self._close(asked.host, f"the host failed {in_a_row} times in a row: {failure}")
        if asked.tries < self.options.tries and not self.queue.closed(asked.host):
            self.queue.again(asked, max(self._backoff_s(asked.tries), failure.wait_s))
        else:
            self._settle(asked, "failed", str(failure))

    def _backoff_s(self, tries: int) -> float:
        """Doubles with every try; spread out, so that retries do not come all at once."""
        longest = min(LONGEST_BACKOFF_S, self.options.backoff_s * 2.0 ** min(tries - 1, 20))
        return longest * random.uniform(0.5, 1.0)

    def _close(self, host: str, why: str) -> None:
        for asked in self.queue.close(host):
            self._settle(asked, "failed", why)

    def _settle(self, asked: Asked, state: Literal["broken", "failed"], reason: str) -> None:
        self.queue.settle()
        tries = asked.tries + self._earlier_tries(asked.url)
        self._note(Record(asked.url, state, tries, reason))

    def _earlier_tries(self, url: str) -> int:
        record = self.journal.records.get(url)
        return record.tries if record else 0

    def _note(self, record: Record) -> None:
        self.journal.add(record)
        if record.state == "done":
            self.came += 1
        else:
            self.missing += 1
        rate = (self.came + self.missing) / max(1e-3, time.monotonic() - self.start)
        without = f", {self.missing:,} without an image" if self.missing else ""
        self.advance(1, f"{rate:.1f}/s{without}")
