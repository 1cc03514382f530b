"""Serving capacity: divide a machine into workers, threads and queued requests.

``latency``: few workers, each with many threads, for the shortest answer to one request.
``throughput``: one single-threaded worker per core, so that no core waits for another and the
serial parts (decoding, scoring, HTTP) overlap with another worker's backbone. On a GPU both start
one worker that processes several requests at once.
"""

from dataclasses import dataclass
from typing import Literal

from augrank.resources import available_memory, usable_cores

Profile = Literal["latency", "throughput"]
# More threads than this gain nothing on a batch of six images.
LATENCY_THREADS = 8
WORKER_BYTES = 450 * 1024 * 1024  # Python, graph, batch and caches of one worker
GPU_BATCH, GPU_BATCH_DELAY_MS = 8, 2
QUEUED_PER_WORKER = 8  # requests; more are rejected at once


@dataclass(frozen=True)
class ServingPlan:
    """The workers, threads and limits of a server."""

    profile: Profile
    cores: int
    workers: int
    threads: int  # of each worker's backbone
    batch_size: int  # requests in one call of a worker, at most
    batch_delay_ms: int  # how long a single request waits for others to join its batch
    queue_size: int  # requests that wait for a worker, at most
    spin: bool  # whether idle threads spin between requests

    def explained(self) -> str:
        """Return the plan in one line."""
        batch = "one request at a time"
        if self.batch_size > 1:
            batch = f"up to {self.batch_size} requests at once ({self.batch_delay_ms} ms wait)"
        return (
            f"{self.profile}: {self.workers} workers x {self.threads} threads on {self.cores} "
            f"cores, {batch}, at most {self.queue_size} waiting"
        )


@dataclass(frozen=True)
class CapacityRequest:
    """Constraints of a plan; None leaves a figure to the plan."""

    profile: Profile = "latency"
    cores: int | None = None  # by default those that this process may use
    memory_bytes: int | None = None  # limits the workers; by default what is available now
    gpu: bool = False  # whether the backbone runs on one
    workers: int | None = None  # processes
    threads: int | None = None  # of each worker's backbone
    batch_size: int | None = None  # requests in one call of a worker
    batch_delay_ms: int | None = None  # wait for other requests, if batches are larger than 1
    queue_size: int | None = None  # requests that may wait


def plan_serving(request: CapacityRequest = CapacityRequest()) -> ServingPlan:
    """Divide a machine: given figures are kept, the others follow from the machine.

    Workers x threads never exceeds the cores, unless there are more workers than cores.
    """
    cores = request.cores or usable_cores()
    workers = request.workers or _default_workers(request, cores)
    batch_size = request.batch_size or (GPU_BATCH if request.gpu else 1)
    delay_ms = GPU_BATCH_DELAY_MS if request.batch_delay_ms is None else request.batch_delay_ms
    return ServingPlan(
        profile=request.profile,
        cores=cores,
        workers=workers,
        threads=request.threads or max(1, cores // workers),
        batch_size=batch_size,
        batch_delay_ms=delay_ms if batch_size > 1 else 0,
        queue_size=request.queue_size or QUEUED_PER_WORKER * workers * batch_size,
        spin=workers == 1 and not request.gpu and cores > 1,
    )


def _default_workers(request: CapacityRequest, cores: int) -> int:
    wanted = cores if request.profile == "throughput" else max(1, cores // LATENCY_THREADS)
    if request.gpu:
        wanted = 1
    memory = available_memory() if request.memory_bytes is None else request.memory_bytes
    return max(1, min(wanted, memory // WORKER_BYTES))
