"""Thread pools that start their threads late, whoever asks first."""

import threading
from concurrent.futures import ThreadPoolExecutor


def start_threads(owner: object) -> None:
    """Start all threads of an object's pools now: a fixture's are its own, not a test's."""
    for pool in vars(owner).values():
        if isinstance(pool, ThreadPoolExecutor):
            meeting = threading.Barrier(pool._max_workers)
            for waiting in [pool.submit(meeting.wait, 60) for _ in range(pool._max_workers)]:
                waiting.result()
