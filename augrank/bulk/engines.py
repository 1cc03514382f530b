"""Where shards are answered: processes of this machine, or the nodes of a Ray cluster."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from augrank.bulk.job import Item, Job
from augrank.bulk.scorer import ShardScorer
from augrank.cores import usable_cores
from augrank.engines import providers
from augrank.errors import BadRequest, one_of

Engine = Literal["local", "ray"]
Shards = Mapping[int, Sequence[Item]]
Scored = Iterator[tuple[int, list[dict[str, Any]]]]
Run = Callable[[Job, Shards, int | None], Scored]
_scorer: ShardScorer | None = None  # of a worker process


def engine_named(name: str) -> Run:
    """What answers a job's shards, in any order.

    Raises:
        BadRequest: there is no such engine.
    """
    if name not in ENGINES:
        raise BadRequest("no such engine", expected=one_of(ENGINES, name), got=name)
    return ENGINES[name]


def on_this_machine(job: Job, shards: Shards, workers: int | None) -> Scored:
    """Processes of this machine.

    Raises:
        BundleError: the device is not there.
    """
    if not shards:
        return
    if job.device != "openvino":
        # What is not there is said once, here: the pool would start its processes for ever.
        providers(job.device)
    count = min(workers or usable_cores(), len(shards))
    spawn = multiprocessing.get_context("spawn")  # onnxruntime's threads do not survive a fork
    with spawn.Pool(count, _load, (job,)) as pool:
        yield from pool.imap_unordered(_score_numbered, shards.items())


def on_ray(job: Job, shards: Shards, workers: int | None) -> Scored:
    """Actors on a Ray cluster: the one that is connected to, or a new one on this machine.

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
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    cores = int(ray.cluster_resources().get("CPU", 1))
    count = max(1, min(workers or cores, len(shards)))
    packed = [
        {"number": number, "shard": json.dumps([asdict(item) for item in shard])}
        for number, shard in shards.items()
    ]
    data = ray.data.from_items(packed, override_num_blocks=len(packed)).map(
        _RayScorer, fn_constructor_args=(job,), concurrency=count, num_cpus=1
    )
    for row in data.iter_rows():
        yield int(row["number"]), json.loads(row["rows"])


ENGINES: dict[str, Run] = {"local": on_this_machine, "ray": on_ray}


def _load(job: Job) -> None:
    global _scorer
    _scorer = ShardScorer(job)


def _score_numbered(numbered: tuple[int, Sequence[Item]]) -> tuple[int, list[dict[str, Any]]]:
    assert _scorer is not None
    number, shard = numbered
    return number, _scorer(shard)


class _RayScorer:
    """ShardScorer as Ray Data maps it."""

    def __init__(self, job: Job) -> None:
        self._score = ShardScorer(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        shard = [Item(**item) for item in json.loads(row["shard"])]
        return {"number": row["number"], "rows": json.dumps(self._score(shard))}
