"""The backbone as an ONNX graph under onnxruntime: pictures in, embeddings out."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from augrank.errors import BundleError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
# Bounds the memory of one call; a TorchServe batch of eight six-candidate requests is 48.
MAX_BATCH = 128
# A CPU is as fast with one request's candidates as with more, and starts sooner; a GPU is not.
CPU_ROWS_PER_CALL = 6
INPUT, FEATURES, LOGITS = "pictures", "features", "logits"


@dataclass(frozen=True)
class Embedding:
    """What the backbone gives for N pictures."""

    features: NDArray[np.float32]  # (N, F), pooled
    logits: NDArray[np.float32]  # (N, A), one per augmentation

    def __getitem__(self, rows: slice) -> "Embedding":
        return Embedding(self.features[rows], self.logits[rows])


class Backbone:
    """One onnxruntime session.

    Args:
        graph: the ONNX file.
        threads: intra-op threads; workers x threads should equal the cores.
        device: ``auto`` takes CUDA where onnxruntime offers it, else the CPU. ``tensorrt`` builds
            an engine at its first start, which takes minutes.
        spin: let idle threads spin between calls. Faster alone, wasteful when workers share cores.
    """

    def __init__(
        self, graph: Path, *, threads: int, device: Device = "auto", spin: bool = False
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
        wanted = providers(device)
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(graph), options, providers=wanted
            )
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise BundleError(
                f"{graph.name} cannot be loaded: {error}", remedy="Export the run again."
            ) from error
        self.provider: str = self._session.get_providers()[0]
        if device not in ("auto", "cpu") and self.provider == CPU:
            raise BundleError(
                f"{device} could not be used",
                expected=_name(wanted[0]),
                got=self.provider,
                remedy="Check the NVIDIA driver and the CUDA libraries, or set AUGRANK_DEVICE=cpu.",
            )
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        if set(shapes) != {FEATURES, LOGITS}:
            raise BundleError(
                f"{graph.name} is no augrank backbone",
                expected=f"outputs {FEATURES} and {LOGITS}",
                got=", ".join(shapes),
                remedy="Export the run again.",
            )
        self.feature_width: int = shapes[FEATURES][1]
        self.augmentation_count: int = shapes[LOGITS][1]
        self.rows_per_call: int = CPU_ROWS_PER_CALL if self.provider == CPU else MAX_BATCH

    def embed(self, batch: NDArray[np.float32]) -> Embedding:
        """Embed normalised pictures, float32 (N, 3, S, S)."""
        parts = [
            self._session.run([FEATURES, LOGITS], {INPUT: batch[start : start + MAX_BATCH]})
            for start in range(0, len(batch), MAX_BATCH)
        ]
        if len(parts) == 1:
            return Embedding(*parts[0])
        return Embedding(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def providers(device: Device) -> list[str | tuple[str, dict[str, Any]]]:
    """onnxruntime's execution providers for this device, best first.

    Raises:
        BundleError: this onnxruntime has no such provider.
    """
    if not uses_accelerator(device):
        return [CPU]
    wanted = TENSORRT if device == "tensorrt" else CUDA
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise BundleError(
            f"{device} is not available",
            expected=wanted,
            got=", ".join(available),
            remedy="Install augrank[gpu] on a machine with an NVIDIA driver, or use the CPU.",
        )
    if device == "tensorrt":
        return [(TENSORRT, {"trt_fp16_enable": True, "trt_engine_cache_enable": True}), CUDA, CPU]
    return [CUDA, CPU]


def uses_accelerator(device: Device) -> bool:
    """Whether this device means a GPU here; ``auto`` does where there is one to be used."""
    if device == "auto":
        return CUDA in onnxruntime.get_available_providers() and _has_gpu()
    return device != "cpu"


def _has_gpu() -> bool:
    """Whether the kernel shows an NVIDIA GPU; onnxruntime-gpu offers CUDA even without one."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _name(provider: str | tuple[str, dict[str, Any]]) -> str:
    return provider if isinstance(provider, str) else provider[0]
