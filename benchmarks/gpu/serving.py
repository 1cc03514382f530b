"""The rows ``serve`` and ``tensorrt``: a ResNet-18's graphs in process, by batch size.

Each call takes images from this machine's memory and returns features and logits there, as in a
server's worker. The weights are random, which does not change the speed. torch exports the graphs
in another process: this one finds CUDA's libraries as ``augrank serve`` does.
"""

import ctypes.util
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from augrank.arrays import Float32Array
from augrank.contracts.run import BackboneName
from augrank.models.backbone import Backbone
from augrank.models.engines import TENSORRT, Device
from benchmarks.gpu.config import Figures, NotPossibleHere, RowContext

SERVED_BACKBONE: BackboneName = "resnet18"
CANDIDATES = 6
PRECISIONS = ("fp32", "fp16")
COMPARED = 12  # images whose outputs are compared with the CPU's
MIN_CALLS, WARM_UP_CALLS = 5, 3


def measure_serving(context: RowContext) -> Figures:
    """Measure both graphs on the device."""
    return _measure(context, context.config.device, context.config.batches)


def measure_tensorrt(context: RowContext) -> Figures:
    """Measure both graphs with TensorRT, at six images alone: it builds an engine for minutes.

    Raises:
        NotPossibleHere: TensorRT is not installed.
    """
    if context.config.device != "cuda" or TENSORRT not in onnxruntime.get_available_providers():
        raise NotPossibleHere(f"onnxruntime has no {TENSORRT} here")
    if ctypes.util.find_library("nvinfer") is None and find_spec("tensorrt_libs") is None:
        raise NotPossibleHere("TensorRT's libraries are not installed")
    return _measure(context, "tensorrt", (CANDIDATES,))


def _measure(context: RowContext, device: Device, batches: tuple[int, ...]) -> Figures:
    config = context.config
    files = _graphs(context)
    rng = np.random.default_rng(0)
    shape = (max(*batches, COMPARED), 3, config.size, config.size)
    images = rng.standard_normal(shape, np.float32)
    graphs: dict[str, Any] = {}
    for precision, file in files.items():
        reference = Backbone(file, threads=config.threads, device="cpu")
        start = time.perf_counter()
        backbone = Backbone(file, threads=config.threads, device=device)
        backbone.embed(images[:1])
        first_s = time.perf_counter() - start
        graphs[precision] = {
            "provider": backbone.provider,
            "first_answer_s": round(first_s, 2),
            "difference": _difference(backbone, reference, images[:COMPARED]),
            "batches": [_time(backbone, images[:count], config.batch_s) for count in batches],
        }
        (alone,) = (row for row in graphs[precision]["batches"] if row["batch"] == CANDIDATES)
        graphs[precision]["requests_per_s"] = round(alone["images_per_s"] / CANDIDATES, 1)
    rates = [f"{name} {graph['requests_per_s']:.0f}" for name, graph in graphs.items()]
    return {
        "backbone": SERVED_BACKBONE,
        "size": config.size,
        "graphs": graphs,
        "torch_imported": "torch" in sys.modules,
        "summary": f"requests/s of six candidates: {', '.join(rates)}",
    }


def _graphs(context: RowContext) -> dict[str, Path]:
    """Return the graphs by precision, exported in another process if they do not exist."""
    folder = context.scratch / f"graphs-{context.config.size}"
    files = {precision: folder / f"{precision}.onnx" for precision in PRECISIONS}
    if not files[PRECISIONS[-1]].exists():
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            process.submit(_export, files, context.config.size).result()
    return files


def _export(files: dict[str, Path], size: int) -> None:
    from export.fp16_graph import write_fp16
    from training.backbone.model import Backbone as TrainedBackbone
    from training.graphs.onnx_graphs import load_network, write_fp32

    network = TrainedBackbone(SERVED_BACKBONE, CANDIDATES, seed=0)
    write_fp32(load_network(SERVED_BACKBONE, network.plain_state()), size, files["fp32"])
    write_fp16(files["fp32"], files["fp16"])


def _difference(backbone: Backbone, reference: Backbone, images: Float32Array) -> dict[str, float]:
    """Return the largest difference from the CPU's outputs, by output, as a share of its range."""
    here, there = backbone.embed(images), reference.embed(images)

    def share(got: Float32Array, want: Float32Array) -> float:
        return float(np.abs(got - want).max() / np.abs(want).max())

    return {
        "features": share(here.features, there.features),
        "logits": share(here.logits, there.logits),
    }


def _time(backbone: Backbone, images: Float32Array, seconds: float) -> dict[str, Any]:
    """Time calls one after another for about ``seconds``."""
    for _ in range(WARM_UP_CALLS):
        backbone.embed(images)
    times: list[float] = []
    start = last = time.perf_counter()
    while last - start < seconds or len(times) < MIN_CALLS:
        backbone.embed(images)
        now = time.perf_counter()
        times.append(now - last)
        last = now
    p50, p99 = np.percentile(times, (50, 99)) * 1e3
    return {
        "batch": len(images),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "images_per_s": round(len(images) * len(times) / (last - start), 1),
    }
