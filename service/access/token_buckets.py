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
            tokens, filled_at = self._buckets.get(caller, (self._burst, now))
            tokens = min(self._burst, tokens + self._per_s * (now - filled_at))
            enough = tokens >= 1
            self._buckets[caller] = (tokens - 1 if enough else tokens, now)
        return 0 if enough else max(1, math.ceil((1 - tokens) / self._per_s))
