"""Prefetch: threads compute the next items while the current one is used."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class WaitTimer:
    """Adds up the time that a consumer waited for prefetched results."""

    seconds = 0.0

    def result(self, future: Future[Result]) -> Result:
        """Wait for a result."""
        start = time.perf_counter()
        try:
            return future.result()
        finally:
            self.seconds += time.perf_counter() - start


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    timer: WaitTimer | None = None,
) -> Iterator[Result]:
    """Yield ``function`` of each item, in order, computed ahead of use.

    Args:
        function: called by threads.
        items: its arguments.
        threads: number of threads; at most one more result than that is kept waiting.
        timer: adds up the time that the caller waited.
    """
    timer = timer or WaitTimer()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads + 1:
                    yield timer.result(waiting.popleft())
            while waiting:
                yield timer.result(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()
