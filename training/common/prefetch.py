"""Work made ahead by threads, in order, with no more of it waiting than is soon used."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class Waited:
    """How long what is made ahead was waited for, all in all."""

    seconds = 0.0

    def result(self, future: Future[Made]) -> Made:
        """Wait for it."""
        start = time.perf_counter()
        try:
            return future.result()
        finally:
            self.seconds += time.perf_counter() - start


def ahead(
    make: Callable[[Item], Made],
    items: Iterable[Item],
    threads: int,
    waited: Waited | None = None,
) -> Iterator[Made]:
    """What is made of items, in order, while an earlier one is used.

    Args:
        make: called by threads.
        items: to make something of.
        threads: at a time; at most one more than these are made and wait.
        waited: adds up the time.
    """
    waited = waited or Waited()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads + 1:
                    yield waited.result(waiting.popleft())
            while waiting:
                yield waited.result(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()
