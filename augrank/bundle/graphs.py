"""Choose the graph of a bundle and the engine that runs it, and open it.

Which way is the quickest depends on the machine: int8 needs VNNI, OpenVINO computes in bfloat16
where the CPU can. So with ``auto`` the ways that passed the parity gate are timed, a few batches
each, and the quickest is taken. The choice is remembered by bundle and machine for the next worker.
"""

import hashlib
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from augrank.arrays import Float32Array
from augrank.bundle.smoke import SmokeRequest
from augrank.bundle.spec import SMOKE_FILE, Bundle, BundleSpec
from augrank.contracts.run import Precision
from augrank.errors import BundleError
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.engines import (
    ENGINE_NAMES,
    Device,
    engine_versions,
    uses_accelerator,
)
from augrank.resources import processor_name

TIMING_S = 3.0  # for all ways together
ROUNDS = 8
HOPELESS = 1.5  # a way that is slower than the quickest by this factor is not timed again
TIMING_ROWS = 6  # candidates of a request

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """A graph and the device that runs it."""

    precision: Precision
    device: Device

    @property
    def label(self) -> str:
        """A name such as ``int8`` or ``int8, openvino``."""
        return self.precision if self.device == "cpu" else f"{self.precision}, {self.device}"


@dataclass(frozen=True)
class OpenGraph:
    """A graph that is ready to run."""

    way: Way
    backbone: Backbone
    # Milliseconds of TIMING_ROWS images by way; empty if there was nothing to choose.
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def precision(self) -> Precision:
        """The graph's precision."""
        return self.way.precision

    @property
    def engine(self) -> str:
        """The graph's precision, the engine and the type of its floating point arithmetic."""
        name = ENGINE_NAMES.get(self.backbone.provider, self.backbone.provider)
        arithmetic = self.backbone.arithmetic
        return f"{self.precision} on {name}" + (f" ({arithmetic})" if arithmetic else "")

    @property
    def summary(self) -> str:
        """One line: what was chosen, and the timings of what it was compared with."""
        if not self.timings_ms:
            return self.engine
        others = sorted((ms, name) for name, ms in self.timings_ms.items() if name != self.engine)
        compared = ", ".join(f"{name} {ms:.1f}" for ms, name in others)
        own = self.timings_ms[self.engine]
        return f"{self.engine}: {own:.1f} ms for {TIMING_ROWS} images ({compared})"


def open_graph(
    bundle: Bundle[BundleSpec],
    precision: Precision | None,
    *,
    threads: int,
    device: Device,
    spin: bool,
) -> OpenGraph:
    """Open the graph of this precision on this device; what is left open is chosen by timing.

    Args:
        bundle: a checked bundle.
        precision: of the graph; None leaves it to the device.
        threads: intra-op threads.
        device: ``auto`` takes the quickest of those that this machine has.
        spin: let idle threads spin.

    Raises:
        BundleError: the device is not available, or a graph cannot be loaded.
    """
    ways = possible_ways(bundle.spec, precision, device)

    def opened(way: Way) -> OpenGraph:
        graph = bundle.graph(way.precision)
        backbone = Backbone(graph, threads=threads, device=way.device, spin=spin)
        return OpenGraph(way, backbone)

    if len(ways) == 1:
        return opened(ways[0])
    with _remembered(bundle, ways, threads, spin) as memory:
        if (way := memory.read(ways)) is not None:
            return opened(way)
        graphs = _faithful(bundle, _usable(ways, opened))
        found = _quickest(graphs, bundle.spec.image_size)
        memory.write(found.way)
    logger.info("%s: %s", bundle.spec.name, found.summary)
    return found


def _usable(ways: Sequence[Way], opened: Callable[[Way], OpenGraph]) -> dict[Way, OpenGraph]:
    """Open the ways that work here, such as CUDA where its libraries can be loaded.

    Raises:
        BundleError: none does.
    """
    found: dict[Way, OpenGraph] = {}
    for way in ways:
        try:
            found[way] = opened(way)
        except BundleError as error:
            if way == ways[-1] and not found:
                raise
            logger.warning("%s on %s is left out: %s", way.precision, way.device, error)
    return found


def _faithful(
    bundle: Bundle[BundleSpec], graphs: Mapping[Way, OpenGraph]
) -> Mapping[Way, OpenGraph]:
    """Leave out the ways that embed the smoke request's image otherwise than at export.

    Some processors compute int8 with overflows, for example. If no way is right, all are returned,
    and the check at warm-up tells what is wrong.
    """
    if SMOKE_FILE not in bundle.spec.files:
        return graphs
    smoke, spec = SmokeRequest.load(bundle.directory), bundle.spec
    pixels = decode(smoke.image, spec.image_size).pixels
    batch = Normalizer(spec.mean, spec.std).batch([pixels])
    faithful = {}
    for way, graph in graphs.items():
        known = smoke.answers.get(way.precision)
        if known is None or known.resembles(graph.backbone.embed(batch).features[0], way.device):
            faithful[way] = graph
        else:
            logger.warning(
                "%s on %s is left out: here it embeds otherwise than at export",
                way.precision,
                way.device,
            )
    return faithful or graphs


def possible_ways(spec: BundleSpec, precision: Precision | None, device: Device) -> list[Way]:
    """Return the ways that a bundle offers on this machine, likely the quickest first.

    Unless a precision is given, they have passed the parity gate. Building an engine of TensorRT
    takes minutes, so it is used only if it is named.
    """
    if device != "auto":
        return [Way(precision or _best_precision(spec, device), device)]
    ways: list[Way] = []
    if uses_accelerator("auto"):
        best: list[Precision] = [p for p in ("fp16", "fp32") if p in spec.graphs]
        ways += [Way(each, "cuda") for each in ([precision] if precision else best)]
    for each in ("openvino", "cpu"):
        if each == "openvino" and find_spec("openvino") is None:
            continue
        passed = spec.passed.get(each, ())
        ways += [Way(p, each) for p in passed if precision in (None, p)]
    return ways or [Way(precision or spec.precision, "cpu")]


def _best_precision(spec: BundleSpec, device: Device) -> Precision:
    """Return the precision that likely suits a device best."""
    if uses_accelerator(device):
        return "fp16" if "fp16" in spec.graphs else "fp32"
    if passed := spec.passed.get(device):
        return passed[0]
    logger.warning(
        "%s was exported where %s was not installed: its answers were not compared with training",
        spec.name,
        device,
    )
    return spec.precision


def _quickest(graphs: Mapping[Way, OpenGraph], size: int) -> OpenGraph:
    """Time graphs in turns; return the quickest, with what there was time to measure."""
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(TIMING_ROWS, 3, size, size)).astype(np.float32)
    end, seconds = time.perf_counter() + TIMING_S, dict[Way, list[float]]()
    for way, graph in graphs.items():
        if seconds and time.perf_counter() >= end:
            break
        _seconds(graph, batch)  # the first call allocates
        seconds[way] = [_seconds(graph, batch)]
    for _ in range(ROUNDS - 1):
        best = min(map(statistics.median, seconds.values()))
        for way, times in seconds.items():
            if statistics.median(times) <= HOPELESS * best and time.perf_counter() < end:
                times.append(_seconds(graphs[way], batch))
    medians = {way: statistics.median(each) for way, each in seconds.items()}
    way = min(medians, key=lambda each: medians[each])
    timings = {graphs[each].engine: round(1e3 * median, 2) for each, median in medians.items()}
    return OpenGraph(way, graphs[way].backbone, timings)


def _seconds(graph: OpenGraph, batch: Float32Array) -> float:
    started = time.perf_counter()
    graph.backbone.embed(batch)
    return time.perf_counter() - started


class _Memory:
    """The file that holds the choice for one bundle on one machine."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self, ways: Sequence[Way]) -> Way | None:
        """Return the remembered way, if it is one of these."""
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            way = Way(content["precision"], content["device"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return way if way in ways else None

    def write(self, way: Way) -> None:
        """Remember a way."""
        text = json.dumps({"precision": way.precision, "device": way.device})
        part = self._file.with_suffix(f".{os.getpid()}")
        part.write_text(text, encoding="utf-8")
        part.replace(self._file)


class _NoMemory(_Memory):
    def __init__(self) -> None:
        super().__init__(Path())

    def read(self, ways: Sequence[Way]) -> Way | None:
        return None

    def write(self, way: Way) -> None:
        """Forget it."""


@contextmanager
def _remembered(
    bundle: Bundle[BundleSpec], ways: Sequence[Way], threads: int, spin: bool
) -> Iterator[_Memory]:
    """Yield the memory of choices for this bundle, these ways and this machine.

    One process at a time times: two would slow each other, and the second can use what the first
    found. The files are in a folder of the user's own below the temporary folder.
    """
    try:
        import fcntl
    except ImportError:  # another system than Linux or macOS
        yield _NoMemory()
        return
    key = json.dumps(
        [bundle.digest, processor_name(), threads, spin, engine_versions(), list(map(str, ways))]
    )
    folder = Path(tempfile.gettempdir()) / f"augrank-engines-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # somebody else's
            raise PermissionError
        file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        lock = file.with_suffix(".lock").open("w")
    except OSError:
        yield _NoMemory()
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _Memory(file)
