"""Embed images with a graph, in the engine that will serve it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from augrank.models.graph_names import FEATURES
from augrank.resources import int8_instructions
from training.common.threads import FreeThreads
from training.distributed.world import World

if TYPE_CHECKING:
    from augrank.models.engines import Engine

EngineDevice = Literal["cpu", "openvino"]


@cache
def engine_device() -> EngineDevice | None:
    """Return what embeds: OpenVINO, else onnxruntime; None without onnxruntime, which quantizes."""
    try:
        from augrank.models.engines import import_openvino
    except ImportError:
        return None
    try:
        import_openvino()
    except ImportError:
        return "cpu"
    return "openvino"


class GraphEmbedder:
    """A graph under OpenVINO, or under onnxruntime where OpenVINO cannot be imported.

    Args:
        graph: the ONNX file.
        threads: the engine has as many, and is loaded again when their number changes.
    """

    device: EngineDevice

    def __init__(self, graph: Path, threads: FreeThreads) -> None:
        from augrank.models.engines import engine_versions, open_engine

        self._graph, self._threads, self._open = graph, threads, open_engine
        self.device = engine_device() or "cpu"
        self._count, self._engine = threads.count, self._opened(threads.count)
        self.width = self._engine.widths[FEATURES]
        content = hashlib.sha256(graph.read_bytes()).hexdigest()
        arithmetic = (self.device, self._engine.arithmetic, *int8_instructions())
        self.digest = f"{content} {arithmetic} {engine_versions()}"

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """Embed normalised images, float32 (N, 3, S, S); return features (N, F)."""
        if self._threads.count != self._count:
            self._count, self._engine = self._threads.count, self._opened(self._threads.count)
        batch = np.ascontiguousarray(images.cpu().numpy())
        return self._engine.run(batch)[0]

    def _opened(self, threads: int) -> "Engine":
        return self._open(self._graph, device=self.device, threads=threads, spin=False)


@contextmanager
def lent_graph(graph: Path, world: World) -> Iterator[Path]:
    """Lend the main process's file to all processes, which may be on other machines."""
    if world.size == 1:
        yield graph
        return
    content = world.broadcast(graph.read_bytes() if world.is_main else b"")
    with TemporaryDirectory(prefix="augrank-graph-") as folder:
        copy = Path(folder) / graph.name
        copy.write_bytes(content)
        yield copy
