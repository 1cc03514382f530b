"""Download the images of a batch: what changed only, politely, from public addresses only."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import aiohttp

from augrank.download.fetch import Fetched, Fetcher, Unchanged, Validators, open_client
from augrank.download.public_addresses import Guard, PermanentFailure, TemporaryFailure, check_url
from augrank.download.scheduler import PendingUrl, RateLimitedQueue
from augrank.errors import ImageNotFetched
from augrank.images.decode import DecodeLimits

SHOWN_URL = 120  # characters
TRIES = 3
MAX_WAIT_S = 10.0  # before another try; a host that wants more is left for another batch
STOP_POLL_S = 0.2


log = logging.getLogger("augrank.service")


@dataclass(frozen=True)
class DownloadSettings:
    """How images are downloaded."""

    per_host: float = 20.0  # requests per second to one host
    connections: int = 16
    timeout_s: float = 20.0  # of one image
    backoff_s: float = 1.0  # before the second try; doubled for the third
    guard: Guard = field(default_factory=Guard)


Outcome = Fetched | Unchanged | ImageNotFetched


class Downloads:
    """Downloads the URLs of a batch, group by group; connections stay open in between.

        with Downloads(settings, limits) as downloads:
            downloads(urls, done)

    Args:
        settings: rate, connections, time.
        limits: larger images are refused.
    """

    def __init__(self, settings: DownloadSettings, limits: DecodeLimits) -> None:
        self._settings, self._limits = settings, limits
        self._runner = asyncio.Runner()
        self._client: aiohttp.ClientSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._client is not None:
                self._runner.run(self._client.close())
        finally:
            self._runner.close()

    def __call__(
        self,
        urls: Mapping[str, Validators],
        done: Callable[[str, Outcome], None],
        stopped: Callable[[], bool] = lambda: False,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Download URLs; those with validators only if they have changed.

        Args:
            urls: validators of earlier responses by URL, empty for new ones.
            done: is called with each URL and what came of it, in the order in which they finish.
            stopped: whether to leave the rest, also what has begun; asked now and then.
            enough: whether to begin no further URL; those that have begun get all of their tries.
        """
        self._runner.run(self._until_stopped(urls, done, stopped, enough))

    async def _until_stopped(
        self,
        urls: Mapping[str, Validators],
        done: Callable[[str, Outcome], None],
        stopped: Callable[[], bool],
        enough: Callable[[], bool],
    ) -> None:
        settings = self._settings
        if self._client is None:
            self._client = open_client(
                settings.guard, connections=settings.connections, timeout_s=settings.timeout_s
            )
        queue = RateLimitedQueue(settings.per_host)
        fetcher = Fetcher(self._client, queue, settings.timeout_s, self._limits)
        work = asyncio.ensure_future(_download(urls, fetcher, queue, settings, done, enough))
        while not work.done():
            await asyncio.wait([work], timeout=STOP_POLL_S)
            if stopped():
                work.cancel()
        if not work.cancelled():
            work.result()


async def _download(
    urls: Mapping[str, Validators],
    fetcher: Fetcher,
    queue: RateLimitedQueue,
    settings: DownloadSettings,
    done: Callable[[str, Outcome], None],
    enough: Callable[[], bool],
) -> None:
    begun = set[str]()
    for url in urls:
        try:
            queue.add(PendingUrl(url, check_url(url).host))
        except PermanentFailure as failure:
            done(url, _not_fetched(url, str(failure)))

    async def work() -> None:
        while (pending := await queue.next()) is not None:
            if pending.url not in begun and enough():
                queue.finish()  # without an outcome: it is left
                continue
            begun.add(pending.url)
            outcome = await _fetched(fetcher, queue, pending, urls[pending.url], settings)
            if outcome is not None:
                done(pending.url, outcome)
                queue.finish()

    await asyncio.gather(*(work() for _ in range(settings.connections)))


async def _fetched(
    fetcher: Fetcher,
    queue: RateLimitedQueue,
    pending: PendingUrl,
    seen: Validators,
    settings: DownloadSettings,
) -> Outcome | None:
    """Return what came of a URL; None if it is tried again later."""
    try:
        return await fetcher.fetch_changed(pending.url, seen)
    except PermanentFailure as failure:
        return _not_fetched(pending.url, str(failure))
    except TemporaryFailure as failure:
        tries = pending.tries + 1
        if tries >= TRIES:
            return _not_fetched(pending.url, f"{failure}, {tries} times")
        wait_s = max(failure.wait_s, settings.backoff_s * 2**pending.tries)
        if wait_s > MAX_WAIT_S:
            return _not_fetched(pending.url, f"{failure}; the host wants {wait_s:.0f} s of rest")
        queue.retry(PendingUrl(pending.url, pending.host, tries), wait_s)
        return None
    except Exception:  # one URL must not end the others, whatever it is
        log.exception("a download failed", extra={"path": pending.url[:SHOWN_URL]})
        return _not_fetched(pending.url, "internal error")


def _not_fetched(url: str, why: str) -> ImageNotFetched:
    return ImageNotFetched(
        f"the image could not be downloaded: {why}",
        expected="the URL of an image at a public address",
        got=url[:SHOWN_URL],
    )


def distinct(urls: Sequence[str]) -> list[str]:
    """Return URLs, each once, in their order."""
    return list(dict.fromkeys(urls))
