"""The backbone: embeds batches of images."""

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augrank.arrays import Float32Array
from augrank.errors import BundleError
from augrank.models.engines import CPU, OPENVINO, Device, open_engine
from augrank.models.graph_names import FEATURES, LOGITS

# Bounds the memory of one call; a TorchServe batch of eight six-candidate requests is 48.
MAX_BATCH = 128
# A CPU is as fast with one request's candidates as with more, and can start sooner; a GPU is not.
CPU_ROWS_PER_CALL = 6


@dataclass(frozen=True)
class Embedding:
    """The backbone's outputs for N images."""

    features: Float32Array  # (N, F), pooled
    logits: Float32Array  # (N, A), one per augmentation

    def __getitem__(self, rows: slice) -> "Embedding":
        return Embedding(self.features[rows], self.logits[rows])


class Backbone:
    """A graph on a device.

    Args:
        graph: the ONNX file.
        threads: intra-op threads; workers x threads should equal the cores.
        device: ``auto`` uses CUDA if onnxruntime offers it, else the CPU. ``tensorrt`` builds
            an engine at its first start, which takes minutes.
        spin: let idle threads spin between calls. Faster for a single worker, wasteful if workers
            share cores.
    """

    def __init__(
        self, graph: Path, *, threads: int, device: Device = "auto", spin: bool = False
    ) -> None:
        self._engine = open_engine(graph, device=device, threads=threads, spin=spin)
        widths = self._engine.widths
        if set(widths) != {FEATURES, LOGITS}:
            raise BundleError(
                f"{graph.name} is not an augrank backbone",
                expected=f"outputs {FEATURES} and {LOGITS}",
                got=", ".join(widths),
                remedy="Export the run again.",
            )
        self.provider, self.arithmetic = self._engine.provider, self._engine.arithmetic
        self.feature_width, self.augmentation_count = widths[FEATURES], widths[LOGITS]
        self.image_size = self._engine.image_size
        self._turn: AbstractContextManager[object] = nullcontext()
        self.rows_per_call = CPU_ROWS_PER_CALL if self.provider in (CPU, OPENVINO) else MAX_BATCH

    def share(self, callers: int) -> None:
        """Let threads that embed at once share the threads; without it they may take turns.

        To be called once, before the first batch.

        Args:
            callers: threads at once; more wait.

        Raises:
            BundleError: the graph cannot be loaded.
        """
        self._engine.share(callers, self.rows_per_call)
        self._turn = threading.BoundedSemaphore(callers)

    def embed(self, batch: Float32Array) -> Embedding:
        """Embed normalised images, float32 (N, 3, S, S)."""
        with self._turn:
            parts = [
                self._engine.run(batch[start : start + MAX_BATCH])
                for start in range(0, len(batch), MAX_BATCH)
            ]
        if len(parts) == 1:
            return Embedding(*parts[0])
        return Embedding(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
