"""Download the images that a request names by URL: from public addresses only, bounded.

All of one request are downloaded together, each in at most TIMEOUT_S and all in TOTAL_S. A URL that
cannot be downloaded has its reason in its place. There are no retries: the caller can ask again.
"""

import asyncio
import logging
from collections.abc import Sequence

from augrank.download.fetch import Fetcher, open_client
from augrank.download.public_addresses import Guard, PermanentFailure, TemporaryFailure
from augrank.download.scheduler import RateLimitedQueue
from augrank.errors import ImageNotFetched, RequestError
from augrank.images.decode import DecodeLimits

CONNECTIONS = 8
TIMEOUT_S, TOTAL_S = 8.0, 15.0
REDIRECTS_PER_S = 50.0  # to one host
SHOWN_URL = 120  # characters


class RequestImages:
    """Downloads the images of requests. Thread-safe.

    Args:
        limits: larger images are refused.
        guard: the addresses that may be contacted.
        total_s: for all images of a request.
    """

    def __init__(
        self,
        limits: DecodeLimits = DecodeLimits(),
        guard: Guard = Guard(),
        total_s: float = TOTAL_S,
    ) -> None:
        self._limits, self._guard, self._total_s = limits, guard, total_s
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every URL

    def __call__(self, urls: Sequence[str]) -> tuple[bytes | RequestError, ...]:
        """Download URLs; return files, or why one could not be downloaded, in their order."""
        return asyncio.run(self._download(urls))

    async def _download(self, urls: Sequence[str]) -> tuple[bytes | RequestError, ...]:
        queue, slots = RateLimitedQueue(REDIRECTS_PER_S), asyncio.Semaphore(CONNECTIONS)
        async with open_client(self._guard, connections=CONNECTIONS, timeout_s=TIMEOUT_S) as client:
            fetcher = Fetcher(client, queue, TIMEOUT_S, self._limits)

            async def one(url: str) -> bytes | RequestError:
                try:
                    async with slots:
                        return (await fetcher.fetch(url)).data
                except (PermanentFailure, TemporaryFailure) as failure:
                    return _not_fetched(url, str(failure))

            tasks = [asyncio.ensure_future(one(url)) for url in urls]
            _, late = await asyncio.wait(tasks, timeout=self._total_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            return tuple(
                _not_fetched(url, f"not finished within {self._total_s:g} s for all images")
                if task in late
                else task.result()
                for url, task in zip(urls, tasks, strict=True)
            )


def _not_fetched(url: str, why: str) -> ImageNotFetched:
    return ImageNotFetched(
        f"the image could not be downloaded: {why}",
        expected="the URL of an image at a public address",
        got=url[:SHOWN_URL],
    )
