"""Worker processes, one for each core, that compute on one thread each."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start worker processes, which end with the block or with this process."""
    spawn = multiprocessing.get_context("spawn")  # threads of libraries do not survive a fork
    ours, theirs = spawn.Pipe()
    pool = ProcessPoolExecutor(count, spawn, _begin, (theirs,))
    try:
        yield pool
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)
        theirs.close()


def _begin(parent: Connection) -> None:
    """Set up a worker: the parent handles Ctrl-C, libraries start no threads of their own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # BLAS and OpenMP read them as they are loaded, with the first task.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")


def _end_with(parent: Connection) -> None:
    """End this process as soon as the other end of the connection is closed."""
    parent.poll(None)  # nothing is ever sent
    os._exit(1)
