"""Executors that answer shards: processes of this machine, or the nodes of a Ray cluster."""

import json
import logging
import os
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import cache
from typing import Any, Literal

from augrank.batch.job import Item, ScoringJob
from augrank.batch.shard_scorer import ShardScorer, shard_scorer
from augrank.errors import BadRequest, ServerError, one_of
from augrank.processes import worker_pool
from augrank.resources import usable_cores

ExecutorName = Literal["local", "ray"]
Shards = Mapping[int, Sequence[Item]]
Numbered = tuple[int, list[dict[str, Any]]]
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


def on_ray(job: ScoringJob, shards: Shards, workers: int | None) -> Scored:
    """Answer shards in actors of the connected Ray cluster, or of a new one on this machine.

    Raises:
        BadRequest: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BadRequest(
            f"Ray is not installed: {error}", remedy="pip install 'augrank[ray]'"
        ) from error
    if not shards:
        return
    if not ray.is_initialized():
        _start_ray(ray)
    cores = int(ray.cluster_resources().get("CPU", 1))
    count = max(1, min(workers or cores, len(shards)))
    packed = [
        {"number": number, "shard": json.dumps([asdict(item) for item in shard])}
        for number, shard in shards.items()
    ]
    data = ray.data.from_items(packed, override_num_blocks=len(packed)).map(
        _RayScorer,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=1,
    )
    for row in data.iter_rows():
        yield int(row["number"]), json.loads(row["rows"])


def _start_ray(ray: Any) -> None:
    """Connect to the cluster of RAY_ADDRESS, or start one on this machine, quietly.

    A cluster of our own has its own key; Ray would keep one below the home folder.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
    own = {} if address else {"include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level="error", **own)
    ray.data.DataContext.get_current().enable_progress_bars = False  # the command shows its own
    logging.getLogger("ray.data").setLevel(logging.ERROR)


EXECUTORS: dict[str, Run] = {"local": on_this_machine, "ray": on_ray}


def _in_any_order(pool: ProcessPoolExecutor, job: ScoringJob, shards: Shards, most: int) -> Scored:
    """Yield the shards' rows as they finish, with at most ``most`` shards submitted at once."""
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
def _scorer(job: ScoringJob) -> ShardScorer:
    """Load with a worker's first shard, so that errors reach the parent unchanged."""
    return shard_scorer(job)


def _score(job: ScoringJob, number: int, shard: Sequence[Item]) -> Numbered:
    return number, _scorer(job)(shard)


class _RayScorer:
    """A shard scorer as Ray Data maps it."""

    def __init__(self, job: ScoringJob) -> None:
        self._score = shard_scorer(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = [Item(**item) for item in json.loads(row["shard"])]
        return {"number": row["number"], "rows": json.dumps(self._score(shard))}
