"""What the machine can do without a server: the pipeline in process, the raw forward, GEMM.

Controls run in as many processes, of as many threads, as a server has workers: what a server loses
against them is what serving costs, and nothing of how the cores are shared out.
"""

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Precision
from augrank.errors import AugrankError
from augrank.models.engines import Device
from augrank.runtime.wire import read_body
from augrank.serving.capacity import ServingPlan
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import parse_request

What = Literal["pipeline", "forward"]
GEMM_SIDE, GEMM_REPEATS = 2048, 5
# Multiply-adds of one 224 px image, as torchvision publishes them.
GIGA_MACS = {"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089}


class Controls:
    """Processes that stand in for a server's workers; closed at the end."""

    def __init__(
        self,
        bundle: RecommendBundle,
        precisions: Sequence[Precision],
        plan: ServingPlan,
        device: Device,
        asked: Sequence[dict[str, Any]],
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for _ in range(plan.workers):
            ours, theirs = spawn.Pipe()
            arguments = (
                theirs, bundle.directory, tuple(precisions), plan.threads, plan.spin, device,
                list(asked),
            )  # fmt: skip
            process = spawn.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._ends.append(ours)
            self._processes.append(process)
        for end in self._ends:  # loaded and warm
            end.recv()

    def rate(self, what: What, precision: Precision, seconds: float) -> float:
        """Requests per second of all processes together.

        Args:
            what: whole requests (parsed before), or raw forward passes of one's candidates.
            precision: of the graph.
            seconds: how long.
        """
        for end in self._ends:
            end.send((what, precision, seconds))
        rates: list[float] = [end.recv() for end in self._ends]
        return sum(rates)

    def close(self) -> None:
        """End the processes."""
        for end in self._ends:
            end.close()  # which they take for the end
        for process in self._processes:
            process.join(10)
            process.kill()


def _work(
    end: Connection,
    bundle: Path,
    precisions: tuple[Precision, ...],
    threads: int,
    spin: bool,
    device: Device,
    asked: list[dict[str, Any]],
) -> None:
    """Answer until the other end is closed."""
    cv2.setNumThreads(1)  # as our handler does
    recommenders = {
        precision: Recommender.load(
            bundle, threads=threads, precision=precision, device=device, spin=spin
        )
        for precision in precisions
    }
    for recommender in recommenders.values():
        recommender.warm_up()
    requests = [parse_request(read_body({"body": question}, {})) for question in asked]
    end.send("ready")
    while True:
        try:
            what, precision, seconds = end.recv()
        except EOFError:
            return
        recommender = recommenders[precision]
        spec = recommender.bundle.spec
        shape = (len(spec.augmentations.names), 3, spec.image_size, spec.image_size)
        batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            if what == "pipeline":
                recommender.recommend_batch([requests[done % len(requests)]])
            else:
                recommender.backbone.embed(batch)
            done += 1
        end.send(done / (time.perf_counter() - start))


def candidates(recommender: Recommender, question: dict[str, Any]) -> dict[str, float]:
    """What a server must answer: every candidate's probability."""
    (answer,) = recommender.recommend_batch([parse_request(read_body({"body": question}, {}))])
    if isinstance(answer, AugrankError):
        raise answer
    return {candidate.name: candidate.probability for candidate in answer.candidates}


def gemm_gigaflops() -> float:
    """float32 matrix multiplication by numpy's BLAS on all cores: the machine's practical peak."""
    a = np.random.default_rng(0).normal(size=(GEMM_SIDE, GEMM_SIDE)).astype(np.float32)
    times = []
    for _ in range(GEMM_REPEATS + 1):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * GEMM_SIDE**3 / statistics.median(times[1:]) / 1e9


def forward_gigaops(backbone: str, image_size: int, images_per_s: float) -> float:
    """Multiplications and additions of so many forward passes a second, in 10^9."""
    return 2 * GIGA_MACS[backbone] * (image_size / 224) ** 2 * images_per_s
