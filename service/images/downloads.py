"""Download what requests name by URL: of few requests at once, so that the others have threads.

A request that downloads holds a thread until the slowest host has answered or its time is over.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from augrank.download.request_images import TOTAL_S, RequestImages
from augrank.errors import RequestError
from service.errors import TooManyRequests

MOST = 20  # requests: half of the threads that the server has for them


class BoundedDownloads:
    """Downloads the images of requests. Thread-safe.

    Args:
        download: does it.
        of_one: requests of one advertiser at once.
        most: requests at once.
    """

    def __init__(self, download: RequestImages, of_one: int, most: int = MOST) -> None:
        self._download, self._of_one, self._most = download, of_one, most
        self._running: Counter[str] = Counter()  # by advertiser
        self._lock = threading.Lock()

    def __call__(self, advertiser: str, urls: Sequence[str]) -> tuple[bytes | RequestError, ...]:
        """Download URLs; return files, or why one could not be downloaded, in their order.

        Raises:
            TooManyRequests: others are downloading.
        """
        with self._turn(advertiser):
            return self._download(urls)

    @contextmanager
    def _turn(self, advertiser: str) -> Iterator[None]:
        with self._lock:
            if self._running[advertiser] >= self._of_one:
                raise _too_many(f"{self._of_one} requests of {advertiser} at once")
            if self._running.total() >= self._most:
                raise _too_many(f"{self._most} requests of all advertisers at once")
            self._running[advertiser] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[advertiser] -= 1
                self._running += Counter()  # forgets those without any


def _too_many(most: str) -> TooManyRequests:
    wait_s = round(TOTAL_S)
    return TooManyRequests(
        "too many requests download images",
        expected=f"at most {most}",
        remedy=f"Wait for {wait_s} s, or send the files; to classify, send a batch: /v1/batches.",
        retry_after_s=wait_s,
    )
