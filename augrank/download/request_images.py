"""Download the images that requests name by URL: from public addresses only, bounded.

All of one call are downloaded together, each in at most TIMEOUT_S and all in TOTAL_S; those of one
request have at most the bytes of FULL_SIZE images of the largest size. A URL that cannot be
downloaded has its reason in its place. There are no retries: the caller can ask again.
"""

import asyncio
import logging
from collections.abc import Sequence

from augrank.download.fetch import ByteBudget, Fetcher, open_client
from augrank.download.public_addresses import Guard, PermanentFailure, TemporaryFailure
from augrank.download.scheduler import RateLimitedQueue
from augrank.errors import ImageNotFetched, RequestError
from augrank.images.decode import DecodeLimits

CONNECTIONS = 8  # of a request
TIMEOUT_S, TOTAL_S = 8.0, 15.0
FULL_SIZE = 8  # images of the largest size that a request's may have together: 200 MB
REDIRECTS_PER_S = 50.0  # to one host
SHOWN_URL = 120  # characters

logger = logging.getLogger(__name__)
Downloaded = tuple[bytes | RequestError, ...]  # files, or why one could not be downloaded


class RequestImages:
    """Downloads the images of requests. Thread-safe.

    Args:
        limits: larger images are refused.
        guard: the addresses that may be contacted.
        total_s: for all images of a call.
    """

    def __init__(
        self,
        limits: DecodeLimits = DecodeLimits(),
        guard: Guard = Guard(),
        total_s: float = TOTAL_S,
    ) -> None:
        self._limits, self._guard, self._total_s = limits, guard, total_s

    def __call__(self, urls: Sequence[str]) -> Downloaded:
        """Download the URLs of one request; return what came of them in their order."""
        (images,) = self.of_batch([urls])
        return images

    def of_batch(self, requests: Sequence[Sequence[str]]) -> list[Downloaded]:
        """Download the URLs of several requests, none of which waits for another's.

        Each has connections and bytes of its own; all end within the same time.
        """
        return asyncio.run(self._download(requests))

    async def _download(self, requests: Sequence[Sequence[str]]) -> list[Downloaded]:
        connections = CONNECTIONS * len(requests)
        async with open_client(self._guard, connections=connections, timeout_s=TIMEOUT_S) as client:

            def begun(urls: Sequence[str]) -> list[asyncio.Task[bytes | RequestError]]:
                queue, slots = RateLimitedQueue(REDIRECTS_PER_S), asyncio.Semaphore(CONNECTIONS)
                budget = ByteBudget(FULL_SIZE * self._limits.size_bytes)
                fetcher = Fetcher(client, queue, TIMEOUT_S, self._limits, budget)
                return [asyncio.ensure_future(_fetched(fetcher, slots, url)) for url in urls]

            tasks = [begun(urls) for urls in requests]
            every = [task for of_one in tasks for task in of_one]
            _, late = await asyncio.wait(every, timeout=self._total_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            too_late = f"not finished within {self._total_s:g} s for all images"
            return [
                tuple(
                    _not_fetched(url, too_late) if task in late else task.result()
                    for url, task in zip(urls, of_one, strict=True)
                )
                for urls, of_one in zip(requests, tasks, strict=True)
            ]


async def _fetched(fetcher: Fetcher, slots: asyncio.Semaphore, url: str) -> bytes | RequestError:
    try:
        async with slots:
            return (await fetcher.fetch(url)).data
    except (PermanentFailure, TemporaryFailure) as failure:
        return _not_fetched(url, str(failure))
    except Exception:  # one URL must not end the others, whatever it is
        logger.exception("a download failed: %s", url[:SHOWN_URL])
        return _not_fetched(url, "internal error")


def _not_fetched(url: str, why: str) -> ImageNotFetched:
    return ImageNotFetched(
        f"the image could not be downloaded: {why}",
        expected="the URL of an image at a public address",
        got=url[:SHOWN_URL],
    )
