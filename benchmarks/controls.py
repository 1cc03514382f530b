"""What the machine can do without a server: the pipeline in process, the raw forward, GEMM."""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from augrank.bundle import Bundle, Precision
from augrank.engines import Device
from augrank.errors import AugrankError
from augrank.pipeline import Recommender
from augrank.wire import parse_request

GEMM_SIDE, GEMM_REPEATS = 2048, 5
# Multiply-adds of one 224 px picture, as torchvision publishes them.
GIGA_MACS = {"resnet18": 1.814, "resnet34": 3.664, "resnet50": 4.089}


class Controls:
    """One precision's pipeline and raw forward, in this process."""

    def __init__(
        self, bundle: Bundle, precision: Precision, threads: int, device: Device = "cpu"
    ) -> None:
        self.recommender = Recommender(bundle, threads=threads, precision=precision, device=device)
        spec = bundle.spec
        shape = (len(spec.augmentations.names), 3, spec.image_size, spec.image_size)
        self._batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        self._backbone = self.recommender.backbone

    def candidates(self, question: dict[str, Any]) -> dict[str, float]:
        """What a server must answer: every candidate's probability."""
        (answer,) = self.recommender.recommend_batch([parse_request({"body": question}, {})])
        if isinstance(answer, AugrankError):
            raise answer
        return {candidate.name: candidate.probability for candidate in answer.candidates}

    def pipeline(self, asked: Sequence[dict[str, Any]], seconds: float) -> float:
        """Requests per second, one after another, parsed and answered in process."""
        requests = [parse_request({"body": question}, {}) for question in asked]
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            self.recommender.recommend_batch([requests[done % len(requests)]])
            done += 1
        return done / (time.perf_counter() - start)

    def forward(self, seconds: float) -> float:
        """Raw forward passes of one request's candidates per second."""
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            self._backbone.embed(self._batch)
            done += 1
        return done / (time.perf_counter() - start)


def gemm_gigaflops() -> float:
    """float32 matrix multiplication by numpy's BLAS on all cores: the machine's practical peak."""
    a = np.random.default_rng(0).normal(size=(GEMM_SIDE, GEMM_SIDE)).astype(np.float32)
    times = []
    for _ in range(GEMM_REPEATS + 1):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * GEMM_SIDE**3 / statistics.median(times[1:]) / 1e9


def forward_gigaflops(backbone: str, image_size: int, pictures_per_s: float) -> float:
    """Arithmetic of so many forward passes a second."""
    return 2 * GIGA_MACS[backbone] * (image_size / 224) ** 2 * pictures_per_s
