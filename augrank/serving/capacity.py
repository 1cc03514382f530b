"""How a machine is shared out between workers, threads and requests.

``latency``: few workers, each with many threads, so that one request is answered as fast as can be.
``throughput``: a worker for every core, each on one thread, so that no core ever waits for another
one and what cannot run in parallel (decoding, scoring, HTTP) runs beside another worker's backbone.
On a GPU both are one worker that takes several requests at once.
"""

from dataclasses import dataclass
from typing import Literal

from augrank.resources import available_memory, usable_cores

Profile = Literal["latency", "throughput"]
# More threads than this gain nothing on a batch of six images.
LATENCY_THREADS = 8
WORKER_BYTES = 700 * 1024 * 1024  # Python, TorchServe's torch, graph and batch of one worker
GPU_BATCH, GPU_BATCH_DELAY_MS = 8, 2
QUEUED_PER_WORKER = 8  # requests; those that would wait longer are refused at once


@dataclass(frozen=True)
class ServingPlan:
    """What runs where."""

    profile: Profile
    cores: int
    workers: int
    threads: int  # of each worker's backbone
    batch_size: int  # requests that a worker takes at once, at most
    batch_delay_ms: int  # how long a lone request waits for company
    queue_size: int  # requests that wait for a worker, at most
    spin: bool  # whether idle threads spin between requests

    def explained(self) -> str:
        """One line for people."""
        batch = "one request at a time"
        if self.batch_size > 1:
            batch = f"up to {self.batch_size} requests at once ({self.batch_delay_ms} ms of wait)"
        return (
            f"{self.profile}: {self.workers} workers x {self.threads} threads on {self.cores} "
            f"cores, {batch}, at most {self.queue_size} waiting"
        )


def plan_serving(
    profile: Profile = "latency",
    *,
    cores: int | None = None,
    memory_bytes: int | None = None,
    gpu: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    batch_size: int | None = None,
    batch_delay_ms: int | None = None,
    queue_size: int | None = None,
) -> ServingPlan:
    """Share out a machine; what is given is kept, the rest follows.

    Args:
        profile: what to be good at.
        cores: by default those that this process may use.
        memory_bytes: bounds the workers; by default what is available now.
        gpu: whether the backbone runs on one.
        workers: processes; workers x threads never exceeds the cores, but for one thread each.
        threads: of each worker's backbone.
        batch_size: requests in one call of a worker.
        batch_delay_ms: how long a lone request waits for company, where there are batches.
        queue_size: requests that may wait.
    """
    cores = cores or usable_cores()
    if workers is None:
        wanted = 1 if gpu else cores
        if profile == "latency":
            wanted = 1 if gpu else max(1, cores // LATENCY_THREADS)
        fits = (available_memory() if memory_bytes is None else memory_bytes) // WORKER_BYTES
        workers = max(1, min(wanted, fits))
    threads = threads or max(1, cores // workers)
    batch_size = batch_size or (GPU_BATCH if gpu else 1)
    delay = GPU_BATCH_DELAY_MS if batch_delay_ms is None else batch_delay_ms
    return ServingPlan(
        profile=profile,
        cores=cores,
        workers=workers,
        threads=threads,
        batch_size=batch_size,
        batch_delay_ms=delay if batch_size > 1 else 0,
        queue_size=queue_size or QUEUED_PER_WORKER * workers * batch_size,
        spin=workers == 1 and not gpu and cores > 1,
    )
