"""Time of a request by stage, in process, against the raw forward pass.

    python -m benchmarks pipeline BUNDLE --rounds 60

A server cannot answer faster than the pipeline, nor the pipeline than the network alone. This
benchmark shows how much decoding, augmenting, scoring and ranking add to the network, for each
graph, on a small image and on a 12-megapixel photo. Each round sends the pipeline one image and
right after it runs the raw forward pass of as many candidates (a classifier has one), so that both
see the same noise; ratios are computed by round.

A second question is about the same image, for another target if there is one: its embeddings are in
the cache.

The JSON line holds, for each graph and kind of image, the medians of ``stages_ms``, ``forward_ms``,
``pipeline_over_forward``, ``second_ms`` and ``first_over_second``.
"""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import AugrankError
from augrank.models.context import ContextEncoder
from augrank.models.engines import Device
from augrank.runtime.batching import answer_batch
from augrank.tasks.base import AnyTask, EngineOptions, StageTimings, load_task
from augrank.tasks.classify.request import Request as ClassifyRequest
from augrank.tasks.engine import Engine
from augrank.tasks.recommend.request import Request as RecommendRequest
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.common.statistics import Median

STAGES = ("decode", "augment", "embed", "score", "rank", "total")
WARM_UP_ROUNDS = 3
PHOTO_SIZE_PX = (4000, 3000)


@dataclass(frozen=True)
class PipelineResult:
    """The figures of one graph and one kind of image."""

    precision: str  # followed by the engine unless it is onnxruntime
    image: str
    stages_ms: dict[str, Median]
    forward_ms: Median
    pipeline_over_forward: Median  # ratio of speeds: forward time / request time
    second_ms: Median  # of a second question about the same image
    first_over_second: Median

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "precision": self.precision,
            "image": self.image,
            "stages_ms": {name: value.to_dict() for name, value in self.stages_ms.items()},
            "forward_ms": self.forward_ms.to_dict(),
            "pipeline_over_forward": self.pipeline_over_forward.to_dict(),
            "second_ms": self.second_ms.to_dict(),
            "first_over_second": self.first_over_second.to_dict(),
        }


def time_pipeline(
    bundle: Bundle[BundleSpec], images: Sequence[Path], *, rounds: int, threads: int
) -> Iterator[PipelineResult]:
    """Time every graph of a bundle on small images and on a 12-megapixel photo.

    Uses onnxruntime on the CPU, and OpenVINO if it is installed.
    """
    inputs = {"catalogue": [file.read_bytes() for file in images], "photo": [_photo()]}
    devices: list[Device] = ["cpu", "openvino"] if find_spec("openvino") else ["cpu"]
    for device in devices:
        for precision in bundle.spec.graphs:
            if (precision, device) == ("fp16", "openvino"):
                continue
            options = EngineOptions(threads=threads, precision=precision, device=device)
            task = load_task(bundle, options)
            label = precision if device == "cpu" else f"{precision}, {device}"
            for name, files in inputs.items():
                yield _time(task, files, rounds, labels=(label, name))


def _time(
    task: AnyTask, files: list[bytes], rounds: int, labels: tuple[str, str]
) -> PipelineResult:
    assert isinstance(task, Engine)
    batch = random_batch(task)
    stages: list[dict[str, float]] = []
    forwards, ratios, seconds, cached_ratios = [], [], [], []
    for number in range(WARM_UP_ROUNDS + rounds):
        question, other = _questions(task.bundle.spec, files[number % len(files)])
        task.embedding_cache.clear()
        timings = _timings(task, question)
        second = _timings(task, other).total
        started = time.perf_counter()
        task.backbone.embed(batch)
        forward = (time.perf_counter() - started) * 1e3
        if number >= WARM_UP_ROUNDS:
            stages.append(dict(timings))
            forwards.append(forward)
            ratios.append(forward / timings.total)
            seconds.append(second)
            cached_ratios.append(timings.total / second)
    return PipelineResult(
        *labels,
        {stage: Median.of([times[stage] for times in stages]) for stage in stages[0]},
        Median.of(forwards),
        Median.of(ratios),
        Median.of(seconds),
        Median.of(cached_ratios),
    )


def _questions(spec: BundleSpec, image: bytes) -> tuple[object, object]:
    """Return two requests about an image; the second needs no embeddings that the first did not."""
    if not isinstance(spec, RecommendSpec):
        kind = spec.example_fields().get("review_kind")
        asked = ClassifyRequest((image,), review_kind=kind, single=True)
        return asked, asked
    context = ContextEncoder(spec.context).example()
    targets = (spec.heads[0].target.name, spec.heads[-1].target.name)
    first, second = (RecommendRequest(image, target, context) for target in targets)
    return first, second


def _timings(task: AnyTask, request: object) -> StageTimings:
    (answer,) = answer_batch(task, [request])
    if isinstance(answer, AugrankError):
        raise answer
    timings: StageTimings = answer.timings_ms
    return timings


def random_batch(task: Engine[Any]) -> NDArray[np.float32]:
    """Return noise of the shape of one request's images, float32 (A, 3, S, S)."""
    spec = task.bundle.spec
    count = len(spec.augmentations.names) if isinstance(spec, RecommendSpec) else 1
    shape = (count, 3, spec.image_size, spec.image_size)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def result_json(
    bundle: Bundle[BundleSpec],
    results: Sequence[PipelineResult],
    command: str,
    *,
    rounds: int,
    threads: int,
) -> dict[str, Any]:
    """Return the content of results.json."""
    spec = bundle.spec
    return {
        "benchmark": "pipeline",
        "results_version": RESULTS_VERSION,
        "command": command,
        "model": {"backbone": spec.backbone, "image_size": spec.image_size, **_choices(spec)},
        "rounds": rounds,
        "machine": machine(threads),
        "results": [result.to_dict() for result in results],
    }


def _choices(spec: BundleSpec) -> dict[str, int]:
    """Return how much a recommender compares; nothing of a classifier."""
    if not isinstance(spec, RecommendSpec):
        return {}
    alternates = spec.alternates.count if spec.alternates else 0
    return {"candidates": len(spec.augmentations.names), "alternates": alternates}


def _photo() -> bytes:
    """Return a 12-megapixel JPEG with about the detail of a photo."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (150, 200, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize(PHOTO_SIZE_PX, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
