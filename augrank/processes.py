"""Worker processes, which share the cores, and end with the process that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection

import cv2
from threadpoolctl import threadpool_limits


def use_one_thread_for_arrays() -> None:
    """Give numpy's matrix products and OpenCV one thread in this process.

    Their threads wait for each other without sleep: two workers on two cores would take each
    other's time, and answer half as many requests. The backbone's engine has threads of its own.
    """
    cv2.setNumThreads(1)
    threadpool_limits(1, user_api="blas")  # stays


@contextmanager
def worker_pool(
    count: int, environment: Mapping[str, str] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes, which end with the block or with this process.

    Args:
        count: number of processes.
        environment: variables of the workers. Libraries see them that are loaded with a task.
    """
    spawn = multiprocessing.get_context("spawn")  # threads of libraries do not survive a fork
    ours, theirs = spawn.Pipe()
    pool = ProcessPoolExecutor(count, spawn, _begin, (theirs, environment or {}))
    try:
        yield pool
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()


def _begin(parent: Connection, environment: Mapping[str, str]) -> None:
    """Set up a worker: the parent handles Ctrl-C, and the worker ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.environ.update(environment)


def _end_with(parent: Connection) -> None:
    """End this process as soon as the other end of the connection is closed."""
    parent.poll(None)  # nothing is ever sent
    os._exit(1)
