"""Executors that answer shards: processes of this machine, or the nodes of a Ray cluster."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from typing import Literal

from augrank.batch.job import Item, ScoringJob
from augrank.batch.ray_actors import on_ray
from augrank.batch.shard_scorer import ShardEncoder, shard_encoder
from augrank.errors import BadRequest, ServerError, one_of
from augrank.processes import worker_pool
from augrank.resources import usable_cores

ExecutorName = Literal["local", "ray"]
Shards = Mapping[int, Sequence[Item]]
Numbered = tuple[int, bytes]  # a shard's number, and its answers as a Parquet file
Scored = Generator[Numbered, None, None]
Run = Callable[[ScoringJob, Shards, int | None], Scored]


def executor_named(name: str) -> Run:
    """Return the function that answers a job's shards, in any order.

    Raises:
        BadRequest: the executor does not exist.
    """
    if name not in EXECUTORS:
        raise BadRequest("no such engine", expected=one_of(EXECUTORS, name), got=name)
    return EXECUTORS[name]


def on_this_machine(job: ScoringJob, shards: Shards, workers: int | None) -> Scored:
    """Answer shards in processes of this machine.

    Raises:
        BundleError: the bundle or the device does not fit.
        ServerError: a process was killed.
    """
    if not shards:
        return
    count = min(workers or usable_cores(), len(shards))
    try:
        with worker_pool(count) as pool:
            yield from _in_any_order(pool, job, shards, 2 * count)
    except BrokenProcessPool as error:
        raise ServerError(
            f"one of {count} worker processes ended early, most likely because memory ran out",
            remedy="Run it again with fewer --workers: it resumes with the missing shards.",
        ) from error


EXECUTORS: dict[str, Run] = {"local": on_this_machine, "ray": on_ray}


def _in_any_order(pool: ProcessPoolExecutor, job: ScoringJob, shards: Shards, most: int) -> Scored:
    """Yield the shards' files as they finish, with at most ``most`` shards submitted at once."""
    waiting: set[Future[Numbered]] = set()
    left = iter(shards.items())
    while True:
        while len(waiting) < most and (numbered := next(left, None)):
            waiting.add(pool.submit(_score, job, *numbered))
        if not waiting:
            return
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


@cache
def _encoder(job: ScoringJob) -> ShardEncoder:
    """Load with a worker's first shard, so that errors reach the parent unchanged."""
    return shard_encoder(job)


def _score(job: ScoringJob, number: int, shard: Sequence[Item]) -> Numbered:
    return number, _encoder(job)(shard)
