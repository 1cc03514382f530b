"""Embed images with a graph, in the engine that will serve it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from augrank.models.engines import FEATURES, Engine, engine_versions, open_engine
from training.common.threads import FreeThreads
from training.distributed.world import World


class GraphEmbedder:
    """A graph under OpenVINO, or under onnxruntime where OpenVINO is not installed.

    Args:
        graph: the ONNX file.
        threads: the engine has as many, and is loaded again when their number changes.
    """

    device: Literal["cpu", "openvino"]

    def __init__(self, graph: Path, threads: FreeThreads) -> None:
        self._graph, self._threads = graph, threads
        self.device = "openvino" if find_spec("openvino") is not None else "cpu"
        self._engines: dict[int, Engine] = {}
        self.width = self._engine().widths[FEATURES]
        content = hashlib.sha256(graph.read_bytes()).hexdigest()
        self.digest = f"{content} {self.device} {self._engine().arithmetic} {engine_versions()}"

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """Embed normalised images, float32 (N, 3, S, S); return features (N, F)."""
        batch = np.ascontiguousarray(images.cpu().numpy())
        return self._engine().run(batch)[0]

    def _engine(self) -> Engine:
        count = self._threads.count
        if count not in self._engines:
            self._engines[count] = open_engine(
                self._graph, device=self.device, threads=count, spin=False
            )
        return self._engines[count]


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
