"""Token buckets: how often somebody may do something."""

import math
import threading
import time
from collections.abc import Callable, Hashable

from cachetools import LRUCache

MAX_BUCKETS = 10_000  # those that were not used for longest are forgotten


class TokenBuckets:
    """A bucket of tokens for each caller, which fills at a steady rate. Thread-safe.

    Args:
        per_s: tokens that a bucket gains in a second; 0: nobody is ever limited.
        burst: tokens that a bucket holds.
        clock: seconds.
    """

    def __init__(
        self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: LRUCache[Hashable, tuple[float, float]] = LRUCache(MAX_BUCKETS)
        self._lock = threading.Lock()

    def take(self, caller: Hashable) -> int:
        """Take a token of a caller's bucket.

        Returns:
            0 if there was one, else the seconds after which there will be.
        """
        if self._per_s <= 0:
            return 0
        now = self._clock()
        with self._lock:
            tokens = self._filled(caller, now)
            self._buckets[caller] = (tokens - 1 if tokens >= 1 else tokens, now)
        return self._wait_s(tokens)

    def wait_s(self, caller: Hashable) -> int:
        """Return what ``take`` would, and take nothing."""
        if self._per_s <= 0:
            return 0
        with self._lock:
            return self._wait_s(self._filled(caller, self._clock()))

    def charge(self, caller: Hashable) -> None:
        """Take a token even if there is none: up to a burst is owed."""
        now = self._clock()
        with self._lock:
            self._buckets[caller] = (max(-self._burst, self._filled(caller, now) - 1), now)

    def _filled(self, caller: Hashable, now: float) -> float:
        tokens, filled_at = self._buckets.get(caller, (self._burst, now))
        return min(self._burst, tokens + self._per_s * (now - filled_at))

    def _wait_s(self, tokens: float) -> int:
        return 0 if tokens >= 1 else max(1, math.ceil((1 - tokens) / self._per_s))
