"""Whose turn it is: hosts side by side, each no faster than its rate, retries when they are due."""

import asyncio
import heapq
import itertools
import math
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """A URL that is to be asked."""

    url: str
    host: str
    tries: int = 0  # so far


@dataclass
class _Host:
    waiting: list[tuple[float, int, Asked]] = field(default_factory=list)  # heap: due, order
    free_at: float = 0.0  # when its next request may go
    listed_at: float | None = None  # its entry in the queue's heap
    failures: int = 0  # in a row
    closed: bool = False


class Queue:
    """URLs in the order in which they may be asked, for any number of workers of one event loop.

    A host that is slow or keeps us waiting holds up none of the others.

    Args:
        per_host: requests per second to one host.
    """

    def __init__(self, per_host: float) -> None:
        self._gap_s = 1.0 / per_host
        self._hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self._heap: list[tuple[float, str]] = []  # when a host is ready; stale entries stay in it
        self._order = itertools.count()
        self._unsettled = 0
        self._changed = asyncio.Event()

    def add(self, asked: Asked) -> None:
        """Take in a URL; each is settled once."""
        self._unsettled += 1
        self._wait(asked, 0.0)

    def again(self, asked: Asked, wait_s: float) -> None:
        """Ask this one again, no sooner than in ``wait_s``."""
        self._wait(asked, time.monotonic() + wait_s)

    def settle(self) -> None:
        """One URL is done with, whatever came of it."""
        self._unsettled -= 1
        self._changed.set()

    async def next(self) -> Asked | None:
        """The next URL, when its host may be asked; None when all are settled."""
        while self._unsettled:
            wait_s = self._ready_at() - time.monotonic()
            if wait_s <= 0:
                return self._take()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                    await self._changed.wait()
        return None

    async def turn(self, host: str) -> None:
        """Wait until a host may be asked: for redirects, which were not in the queue."""
        now = time.monotonic()
        start = max(now, self._hosts[host].free_at)
        self._free(host, start + self._gap_s)
        await asyncio.sleep(start - now)

    def hold(self, host: str, wait_s: float) -> None:
        """Leave a host alone for a while."""
        self._free(host, time.monotonic() + wait_s)

    def answered(self, host: str) -> None:
        """The host works."""
        self._hosts[host].failures = 0

    def failed(self, host: str) -> int:
        """The host did not work; how many times in a row now."""
        self._hosts[host].failures += 1
        return self._hosts[host].failures

    def close(self, host: str) -> list[Asked]:
        """Ask this host no more; those that waited for it, which are still to be settled."""
        state = self._hosts[host]
        state.closed, waiting, state.waiting = True, sorted(state.waiting), []
        self._list(host)
        return [asked for _, _, asked in waiting]

    def closed(self, host: str) -> bool:
        """Whether the host is asked no more."""
        return self._hosts[host].closed

    def _wait(self, asked: Asked, due: float) -> None:
        heapq.heappush(self._hosts[asked.host].waiting, (due, next(self._order), asked))
        self._list(asked.host)

    def _free(self, host: str, at: float) -> None:
        self._hosts[host].free_at = max(self._hosts[host].free_at, at)
        self._list(host)

    def _take(self) -> Asked:
        host = self._heap[0][1]
        state = self._hosts[host]
        asked = heapq.heappop(state.waiting)[2]
        self._free(host, time.monotonic() + self._gap_s)
        return asked

    def _list(self, host: str) -> None:
        """Enter a host where its next URL is due, after any change of it."""
        state = self._hosts[host]
        ready = max(state.free_at, state.waiting[0][0]) if state.waiting else None
        if ready != state.listed_at:
            state.listed_at = ready
            if ready is not None:
                heapq.heappush(self._heap, (ready, host))
            self._changed.set()

    def _ready_at(self) -> float:
        while self._heap and self._hosts[self._heap[0][1]].listed_at != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf
