"""Schedule requests: a rate limit for each host, hosts in parallel, retries after a back-off."""

import asyncio
import heapq
import itertools
import math
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PendingUrl:
    """A URL to request."""

    url: str
    host: str
    tries: int = 0  # requests so far


@dataclass
class _Host:
    waiting: list[tuple[float, int, PendingUrl]] = field(default_factory=list)  # heap: due, order
    free_at: float = 0.0  # earliest time of its next request
    scheduled_at: float | None = None  # its valid entry in the queue's heap
    failures: int = 0  # in a row
    closed: bool = False


class RateLimitedQueue:
    """Gives URLs to the workers of one event loop when the rate limit of their host allows.

    A slow or paused host does not delay the others.

    Args:
        per_host: rate limit, requests per second to one host.
    """

    def __init__(self, per_host: float) -> None:
        self._interval_s = 1.0 / per_host
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self._heap: list[tuple[float, str]] = []  # when a host is ready; stale entries remain
        self._order = itertools.count()
        self._unfinished = 0
        self._changed = asyncio.Event()

    def add(self, pending: PendingUrl) -> None:
        """Add a URL; ``finish`` must be called once for each."""
        self._unfinished += 1
        self._push(pending, 0.0)

    def retry(self, pending: PendingUrl, wait_s: float) -> None:
        """Request a URL again after ``wait_s`` at the earliest (back-off)."""
        self._push(pending, time.monotonic() + wait_s)

    def finish(self) -> None:
        """Count one URL as finished, whatever its result."""
        self._unfinished -= 1
        self._changed.set()

    async def next(self) -> PendingUrl | None:
        """Wait for the next URL that the rate limits allow; return None when all are finished."""
        while self._unfinished:
            wait_s = self._ready_at() - time.monotonic()
            if wait_s <= 0:
                return self._take()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                    await self._changed.wait()
        return None

    async def wait_for_host(self, host: str) -> None:
        """Wait until the rate limit allows a request to a host: for redirects."""
        now = time.monotonic()
        start = max(now, self._hosts[host].free_at)
        self._block(host, start + self._interval_s)
        await asyncio.sleep(start - now)

    def pause(self, host: str, wait_s: float) -> None:
        """Send no requests to a host for a while (Retry-After)."""
        self._block(host, time.monotonic() + wait_s)

    def reset_failures(self, host: str) -> None:
        """Record that a host has answered."""
        self._hosts[host].failures = 0

    def count_failure(self, host: str) -> int:
        """Count a failure of a host, and return the number of consecutive ones."""
        self._hosts[host].failures += 1
        return self._hosts[host].failures

    def close(self, host: str) -> list[PendingUrl]:
        """Send no more requests to a host; return its waiting URLs, which are not finished yet."""
        state = self._hosts[host]
        state.closed, waiting, state.waiting = True, sorted(state.waiting), []
        self._schedule(host)
        return [pending for _, _, pending in waiting]

    def is_closed(self, host: str) -> bool:
        """Return whether a host has been closed."""
        return self._hosts[host].closed

    def _push(self, pending: PendingUrl, due: float) -> None:
        heapq.heappush(self._hosts[pending.host].waiting, (due, next(self._order), pending))
        self._schedule(pending.host)

    def _block(self, host: str, until: float) -> None:
        self._hosts[host].free_at = max(self._hosts[host].free_at, until)
        self._schedule(host)

    def _take(self) -> PendingUrl:
        host = self._heap[0][1]
        state = self._hosts[host]
        pending = heapq.heappop(state.waiting)[2]
        self._block(host, time.monotonic() + self._interval_s)
        return pending

    def _schedule(self, host: str) -> None:
        """Put a host into the heap at the time of its next request, after any change."""
        state = self._hosts[host]
        ready = max(state.free_at, state.waiting[0][0]) if state.waiting else None
        if ready != state.scheduled_at:
            state.scheduled_at = ready
            if ready is not None:
                heapq.heappush(self._heap, (ready, host))
            self._changed.set()

    def _ready_at(self) -> float:
        while self._heap and self._hosts[self._heap[0][1]].scheduled_at != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf
