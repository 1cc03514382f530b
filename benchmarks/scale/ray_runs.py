"""Measure Ray's driver and real runs; a process of its own, because Ray leaves threads behind.

    python -m benchmarks.scale.ray_runs '{"bundle": ..., "images": ..., ...}'

It prints one line of JSON.
"""

import json
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from augrank.batch.job import (
    ClassifyJob,
    Item,
    RecommendJob,
    ScoringJob,
    fingerprint,
    items_of_folder,
)
from augrank.batch.ray_actors import Dispatch, ShardActor
from augrank.batch.run import score
from augrank.tasks.classify.request import DEFAULT_COVERAGE

FEW, MANY = 8, 800  # items of a shard
SHARDS = 400
BLOCKS = (40, 200)  # of Ray Data
OLD_SHARD = 64
ROW_JSON = 4  # bytes of a row as JSON, for one compressed


class Echo:
    """An actor that answers at once, with as many bytes as a shard has."""

    def __init__(self, row_bytes: int) -> None:
        self._row = row_bytes

    def load(self) -> None:
        """Load nothing."""

    def score(self, shard: Sequence[Item]) -> bytes:
        """Return as many bytes as the rows of a shard."""
        return bytes(self._row * len(shard))


class EchoRow:
    """The same for Ray Data."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Answer a shard."""
        return {"number": row["number"], "rows": "x" * self._size}


def job_of(given: Mapping[str, Any]) -> ScoringJob:
    """Return the job of the command's argument."""
    bundle, images = Path(given["bundle"]), Path(given["images"])
    if given["task"] == "recommend":
        return RecommendJob(bundle=bundle, images=images, targets=tuple(given["targets"]))
    return ClassifyJob(bundle=bundle, images=images, coverage=DEFAULT_COVERAGE)


def measure_driver(ray: Any, job: ScoringJob, given: Mapping[str, Any]) -> dict[str, float]:
    """Return the driver's processor seconds for a shard, and a worker's start."""
    row_bytes = int(given["row_bytes"])

    def items(count: int) -> list[Item]:
        return [Item(n, f"2026/11/29/{n:010d}/image.jpg", given["context"]) for n in range(count)]

    def dispatched(size: int) -> float:
        shards = {number: items(size) for number in range(SHARDS)}
        dispatch = Dispatch(ray, row_bytes, shards, Echo)  # type: ignore[arg-type]
        run = dispatch.run(1)
        next(run)
        began = time.process_time()
        for _ in run:
            pass
        seconds = (time.process_time() - began) / (SHARDS - 1)
        dispatch.close()
        return seconds

    few, many = dispatched(FEW), dispatched(MANY)
    per_item = max(0.0, (many - few) / (MANY - FEW))
    actor = ray.remote(num_cpus=1)(ShardActor)
    starts = []
    for _ in range(2):  # the first finds the files in no cache
        began = time.perf_counter()
        started = actor.remote(job)
        ray.get(started.load.remote())
        starts.append(time.perf_counter() - began)
        ray.kill(started)
    return {
        "dispatch_s": max(0.0, few - FEW * per_item),
        "dispatch_item_s": per_item,
        "start_s": min(starts),
        "data_s": _data_s(ray, row_bytes),
    }


def _data_s(ray: Any, row_bytes: int) -> float:
    """Return the driver's processor seconds for a shard as a block of Ray Data."""
    import_module("ray.data")

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    seconds = []
    for blocks in BLOCKS:
        packed = [{"number": number, "shard": "x" * OLD_SHARD * 100} for number in range(blocks)]
        began = time.process_time()
        data = ray.data.from_items(packed, override_num_blocks=blocks).map(
            EchoRow,
            fn_constructor_args=(OLD_SHARD * row_bytes * ROW_JSON,),
            compute=ray.data.ActorPoolStrategy(size=1),
            num_cpus=1,
        )
        for _ in data.iter_rows():
            pass
        seconds.append(time.process_time() - began)
    return (seconds[1] - seconds[0]) / (BLOCKS[1] - BLOCKS[0])


def real_run(ray: Any, job: ScoringJob, given: Mapping[str, Any], nodes: int) -> dict[str, float]:
    """Score the folder on nodes of one core each; return seconds of the whole and of its steps."""
    stamps: list[float] = []

    def done(_finished: int, _all: int) -> None:
        stamps.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        items = items_of_folder(Path(given["images"]), given["context"]).items[: given["most"]]
        out = Path(folder) / "answers.parquet"
        summary = score(job, items, out, executor="ray", workers=nodes, done=done)
        ended = time.perf_counter()
    assert summary.answered == len(items), summary.first_error
    return {
        "nodes": nodes,
        "images": len(items),
        "seconds": ended - began,
        "first_shard_s": stamps[1] - began,
    }


def _with_cluster(nodes: int, use: Callable[[Any], Any]) -> Any:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        return use(ray)
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    """Measure, and print one line of JSON."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
    given = json.loads(sys.argv[1])
    job = job_of(given)
    fingerprint(job, [], 1)  # an error of the bundle comes before Ray
    results: dict[str, Any] = {
        "driver": _with_cluster(1, partial(measure_driver, job=job, given=given)),
        "runs": [
            _with_cluster(nodes, partial(real_run, job=job, given=given, nodes=nodes))
            for nodes in given["nodes"]
        ],
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
