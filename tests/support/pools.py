"""Thread pools that start their threads lazily, in whichever test comes first, and keep them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def own_threads(owner: object) -> Iterator[None]:
    """Start all threads of an object's pools now, so that they belong to a fixture, not to a test.

    The threads end with the block.
    """
    pools = [pool for pool in vars(owner).values() if isinstance(pool, ThreadPoolExecutor)]
    assert pools, f"{owner} has no pools"
    for pool in pools:
        meeting = threading.Barrier(pool._max_workers)
        for waiting in [pool.submit(meeting.wait, 60) for _ in range(pool._max_workers)]:
            waiting.result()
    try:
        yield
    finally:
        for pool in pools:
            pool.shutdown()
