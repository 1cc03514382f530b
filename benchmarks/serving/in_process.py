"""Baselines without a server: the pipeline in process, the raw forward pass, a matrix product.

They use as many processes and threads as a server's workers. A server's loss against them is
therefore the cost of serving, not of dividing the cores.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np

from augrank.bundle.graphs import Way
from augrank.bundle.load import load_bundle
from augrank.bundle.spec import Bundle
from augrank.errors import AugrankError
from augrank.processes import use_one_thread_for_arrays
from augrank.runtime.batching import answer_batch
from augrank.runtime.wire import read_body
from augrank.serving.capacity import ServingPlan
from augrank.tasks.base import AnyTask, EngineOptions, load_task
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import parse_request
from benchmarks.serving.pipeline import random_batch

Baseline = Literal["pipeline", "forward"]
GEMM_SIZE, GEMM_REPEATS = 2048, 5
# Multiply-adds of one 224 px image, as torchvision publishes them.
GIGA_MACS = {"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089}


@dataclass(frozen=True)
class _WorkerConfig:
    """The tasks and requests of one process."""

    bundle: Path
    ways: tuple[Way, ...]
    threads: int
    spin: bool
    requests: list[dict[str, Any]]


class InProcessBaseline:
    """Processes in place of a server's workers; close them at the end."""

    def __init__(
        self,
        bundle: Bundle[Any],
        ways: Sequence[Way],
        plan: ServingPlan,
        requests: Sequence[dict[str, Any]],
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        config = _WorkerConfig(
            bundle.directory, tuple(ways), plan.threads, plan.spin, list(requests)
        )
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(plan.workers):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_run_worker, args=(theirs, config), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        for connection in self._connections:  # wait until all are warm
            connection.recv()

    def rate(self, baseline: Baseline, way: Way, seconds: float) -> float:
        """Measure requests per second of all processes together.

        Args:
            baseline: whole requests (already parsed), or raw forward passes of a request's
                candidates.
            way: the graph and its device.
            seconds: duration.
        """
        for connection in self._connections:
            connection.send((baseline, way, seconds))
        rates: list[float] = [connection.recv() for connection in self._connections]
        return sum(rates)

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()  # a worker ends when its connection does
        for process in self._processes:
            process.join(10)
            process.kill()


def _run_worker(connection: Connection, config: _WorkerConfig) -> None:
    """Measure on request until the other end closes the connection."""
    use_one_thread_for_arrays()  # as augrank's handler does
    bundle = load_bundle(config.bundle)
    tasks = {
        way: load_task(
            bundle,
            EngineOptions(
                threads=config.threads,
                precision=way.precision,
                device=way.device,
                spin=config.spin,
                embedding_cache_mb=0,
            ),
        )
        for way in config.ways
    }
    for task in tasks.values():
        task.warm_up()
    bodies = [read_body({"body": request}, {}) for request in config.requests]
    requests = [next(iter(tasks.values())).parse(body) for body in bodies]
    connection.send("ready")
    while True:
        try:
            baseline, way, seconds = connection.recv()
        except EOFError:
            return
        run = _runner(baseline, tasks[way], requests)
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            run(done)
            done += 1
        connection.send(done / (time.perf_counter() - start))


def _runner(baseline: Baseline, task: AnyTask, requests: list[Any]) -> Callable[[int], object]:
    """Return the timed function, called with the number of its turn."""
    if baseline == "pipeline":
        return lambda turn: answer_batch(task, [requests[turn % len(requests)]])
    assert isinstance(task, Recommender)
    batch = random_batch(task)
    return lambda turn: task.backbone.embed(batch)


def expected_probabilities(recommender: Recommender, request: dict[str, Any]) -> dict[str, float]:
    """Return every candidate's probability, as a server must answer it."""
    (answer,) = recommender.recommend_batch([parse_request(read_body({"body": request}, {}))])
    if isinstance(answer, AugrankError):
        raise answer
    return {candidate.name: candidate.probability for candidate in answer.candidates}


def gemm_gigaflops() -> float:
    """Measure the machine's practical peak: float32 matrix products of numpy's BLAS, all cores."""
    a = np.random.default_rng(0).normal(size=(GEMM_SIZE, GEMM_SIZE)).astype(np.float32)
    times = []
    for _ in range(GEMM_REPEATS + 1):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * GEMM_SIZE**3 / statistics.median(times[1:]) / 1e9


def forward_gigaops(backbone: str, image_size: int, images_per_s: float) -> float:
    """Return multiplications and additions per second, in 10^9, for this many forward passes."""
    return 2 * GIGA_MACS[backbone] * (image_size / 224) ** 2 * images_per_s
