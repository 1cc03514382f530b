"""Inference engines for ONNX graphs: onnxruntime on a CPU or GPU, OpenVINO on a CPU."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import io
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime

from augrank.arrays import Float32Array
from augrank.errors import BundleError, reason
from augrank.models.graph_names import FEATURES, INPUT, LOGITS

Device = Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPENVINO = "OpenVINO"
ENGINE_NAMES = {  # of providers, for people
    CPU: "onnxruntime",
    CUDA: "onnxruntime with CUDA",
    TENSORRT: "onnxruntime with TensorRT",
    OPENVINO: OPENVINO,
}


class Engine(Protocol):
    """A loaded graph. ``run`` may be called from several threads."""

    provider: str  # the execution provider, such as CPUExecutionProvider
    arithmetic: str  # the type of floating point arithmetic, if the engine chooses it, or ""
    widths: dict[str, int]  # columns of each output
    image_size: int  # side of its images, in pixels

    def run(self, batch: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Run the graph on images float32 (N, 3, S, S); return features (N, F), logits (N, A)."""

    def share(self, callers: int, rows: int) -> None:
        """Let threads that run the graph at once share the engine's threads.

        Without it they take turns, each with all of the threads. To be called once, before the
        first run.

        Args:
            callers: at most so many run the graph at once.
            rows: of their usual batch, which is run once for each of them.

        Raises:
            BundleError: the graph cannot be loaded.
        """


def open_engine(graph: Path, *, device: Device, threads: int, spin: bool) -> Engine:
    """Load a graph on a device.

    Raises:
        BundleError: the device is not available, or the graph cannot be loaded.
    """
    if device == "openvino":
        return OpenVinoEngine(graph, threads)
    return OnnxRuntimeEngine(graph, device, threads, spin)


class OnnxRuntimeEngine:
    """One onnxruntime session."""

    def __init__(self, graph: Path, device: Device, threads: int, spin: bool) -> None:
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
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise _cannot_be_loaded(graph, error) from error
        self.provider, self.arithmetic = self._session.get_providers()[0], ""
        if device not in ("auto", "cpu") and self.provider == CPU:
            raise BundleError(
                f"{device} could not be used",
                expected=_name(wanted[0]),
                got=self.provider,
                remedy="Check the NVIDIA driver and the CUDA libraries, or set AUGRANK_DEVICE=cpu.",
            )
        self.widths = {output.name: output.shape[-1] for output in self._session.get_outputs()}
        self.image_size: int = self._session.get_inputs()[0].shape[-1]

    def run(self, batch: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Run the graph on images; return features and logits."""
        features, logits = self._session.run([FEATURES, LOGITS], {INPUT: batch})
        return features, logits

    def share(self, callers: int, rows: int) -> None:
        """Do nothing: those who call a session at once share its threads."""


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which it sends to Intel unless that is missing.

    Raises:
        ImportError: it is not installed, or not usable here.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class OpenVinoEngine:
    """OpenVINO on the CPU.

    Its threads have equal parts of each layer and wait for each other, so that one that another
    thread of the process keeps off its core delays all. A lone run is still the quickest with all
    of them; runs at once get more done with a part of the threads each (``share``).

    If the CPU has bfloat16 units (AMX), OpenVINO computes an fp32 graph in bfloat16.
    """

    def __init__(self, graph: Path, threads: int) -> None:
        self._graph, self._threads = graph, threads
        model = self._compiled(1)
        self.provider = OPENVINO
        self.arithmetic: str = model.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.widths = {
            output.any_name: output.partial_shape[1].get_length() for output in model.outputs
        }
        self.image_size: int = model.inputs[0].partial_shape[3].get_length()
        # Inputs and outputs are in a request's own memory: one run at a time has it.
        self._with_all_threads, self._lock = model.create_infer_request(), threading.Lock()
        self._with_some: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._shared, self._running = False, 0

    def run(self, batch: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Run the graph on images; return features and logits."""
        if not self._shared:
            with self._lock:
                return self._infer(self._with_all_threads, batch)
        with self._lock:
            alone, self._running = self._running == 0, self._running + 1
        try:
            if alone:
                return self._infer(self._with_all_threads, batch)
            request = self._with_some.get()
            try:
                return self._infer(request, batch)
            finally:
                self._with_some.put(request)
        finally:
            with self._lock:
                self._running -= 1

    def share(self, callers: int, rows: int) -> None:
        """Load the graph once more, with a stream of threads for each caller; see ``Engine``."""
        streams = min(callers, self._threads)
        if self._shared or streams < 2:
            return
        model = self._compiled(streams)
        batch = np.zeros((rows, 3, self.image_size, self.image_size), np.float32)
        for _ in range(streams):
            request = model.create_infer_request()
            self._infer(request, batch)  # the first run allocates
            self._with_some.put(request)
        self._shared = True

    def _compiled(self, streams: int) -> Any:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise BundleError(
                "openvino is not available",
                expected="the package openvino",
                got=str(error),
                remedy="pip install 'augrank[openvino]', or set AUGRANK_DEVICE=cpu.",
            ) from error
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self._threads,
            # Pinned threads of two workers would share a core and leave another one idle.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            with _signal_stack_kept():
                return openvino.Core().compile_model(self._graph, "CPU", settings)
        except RuntimeError as error:
            raise _cannot_be_loaded(self._graph, error) from error

    @staticmethod
    def _infer(request: Any, batch: Float32Array) -> tuple[Float32Array, Float32Array]:
        request.infer({INPUT: batch}, share_inputs=True)
        features, logits = (request.get_tensor(name).data.copy() for name in (FEATURES, LOGITS))
        return features, logits


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Give the thread its own signal stack back after the block.

    OpenVINO sets one when it looks at the CPU, and frees it with the model: the next signal, such
    as Ctrl-C, would end the process by a fault of memory.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    before, libc = _SignalStack(), ctypes.CDLL(None)
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def providers(device: Device) -> list[str | tuple[str, dict[str, Any]]]:
    """Return onnxruntime's execution providers for this device, best first.

    Raises:
        BundleError: the installed onnxruntime does not have the provider.
    """
    if not uses_accelerator(device):
        return [CPU]
    _load_cuda_libraries()
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
        engines = Path(tempfile.gettempdir()) / "augrank-tensorrt"  # building takes minutes
        options = {
            "trt_fp16_enable": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": os.fspath(engines),
        }
        return [(TENSORRT, options), CUDA, CPU]
    return [CUDA, CPU]


def uses_accelerator(device: Device) -> bool:
    """Return whether this device is a GPU; ``auto`` is if a GPU can be used."""
    if device == "auto":
        return CUDA in onnxruntime.get_available_providers() and _has_gpu()
    return device in ("cuda", "tensorrt")


def _load_cuda_libraries() -> None:
    """Load the CUDA libraries of pip's ``nvidia-*`` wheels, wherever they are installed.

    onnxruntime's provider names them without a path, and the loader does not search
    ``site-packages``: without this, CUDA works only if torch was imported before. Builds for CPUs
    are left as they are; libraries of the system are found by the loader.
    """
    if not getattr(onnxruntime, "cuda_version", ""):
        return
    found = importlib.util.find_spec("nvidia")
    for root in (found and found.submodule_search_locations) or ():
        for folder in sorted(Path(root).glob("*/lib")):
            # It prints what this folder lacks.
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls(directory=os.fspath(folder))


def engine_versions() -> tuple[str, ...]:
    """Return the versions of the installed engines."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name}=={importlib.metadata.version(name)}")
    return tuple(found)


def _has_gpu() -> bool:
    """Return whether there is an NVIDIA GPU; onnxruntime-gpu offers CUDA even without one."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _name(provider: str | tuple[str, dict[str, Any]]) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _cannot_be_loaded(graph: Path, error: Exception) -> BundleError:
    return BundleError(
        f"{graph.name} cannot be loaded",
        expected="a graph that this engine can run",
        got=reason(error),
        remedy="Export the run again.",
    )
