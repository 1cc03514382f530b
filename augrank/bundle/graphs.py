"""Choose the graph of a bundle and the engine that runs it, and open it.

Which way is the quickest depends on the machine: int8 needs VNNI, OpenVINO computes in bfloat16
where the CPU can. So with ``auto`` the ways that passed the parity gate are timed, a few batches
each, and the quickest is taken. The choice is remembered by bundle and machine for the next worker;
if other processes used the cores meanwhile, for ten minutes only.
"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec

import numpy as np

from augrank.arrays import Float32Array
from augrank.bundle.choice import remembered_choice
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
LEAST, ROUNDS = 3, 8  # of every way, and of those that may be the quickest; more if disturbed
HOPELESS = 1.5  # a way that is slower than the quickest by this factor is not timed again
QUIET = 1.25  # times the quickest round: half of the rounds take longer where cores are shared
ALIKE, ALIKE_IF_DISTURBED = 1.03, 1.25  # of ways this close the one that is likely quicker is taken
DISTURBED_S = 600.0  # that a choice beside other processes holds, for other workers of a server
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
    key = [bundle.digest, processor_name(), threads, spin, engine_versions(), list(map(str, ways))]
    with remembered_choice(key) as choice:
        known = choice.read()
        remembered = next((way for way in ways if known == asdict(way)), None)
        if remembered is None:
            graphs = _faithful(bundle, _usable(ways, opened))
            found, quiet = _quickest(graphs, bundle.spec.image_size)
            choice.write(asdict(found.way), None if quiet else DISTURBED_S)
    if remembered is not None:
        return opened(remembered)
    again = f"; others used the cores: a start after {DISTURBED_S / 60:.0f} minutes times again"
    busy = "" if quiet else again
    logger.info("%s: %s%s", bundle.spec.name, found.summary, busy)
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


def _quickest(graphs: Mapping[Way, OpenGraph], size: int) -> tuple[OpenGraph, bool]:
    """Time graphs in turns; a way counts by its quickest round, which others disturbed least.

    Of ways that are alike the one that is likely the quickest is taken. If other processes use the
    cores, ways of very different speed look alike for all the time that there is.

    Args:
        graphs: by way, likely the quickest first.
        size: of an image, pixels.

    Returns:
        The quickest, with what there was time to measure; and whether others kept the cores free.
    """
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(TIMING_ROWS, 3, size, size)).astype(np.float32)
    end, seconds = time.perf_counter() + TIMING_S, dict[Way, list[float]]()
    for way, graph in graphs.items():
        if seconds and time.perf_counter() >= end:
            break
        _seconds(graph, batch)  # the first call allocates
        seconds[way] = [_seconds(graph, batch)]
    rounds = 1
    while time.perf_counter() < end and (rounds < ROUNDS or not _is_quiet(seconds)):
        # One call alone may have been disturbed, whichever way it was.
        for way in _not_slower(seconds, HOPELESS) if rounds >= LEAST else list(seconds):
            if time.perf_counter() < end:
                seconds[way].append(_seconds(graphs[way], batch))
        rounds += 1
    quiet = seconds.keys() == graphs.keys() and _is_quiet(seconds)
    way = _not_slower(seconds, ALIKE if quiet else ALIKE_IF_DISTURBED)[0]
    timings = {graphs[each].engine: round(1e3 * min(times), 2) for each, times in seconds.items()}
    return OpenGraph(way, graphs[way].backbone, timings), quiet


def _not_slower(seconds: Mapping[Way, Sequence[float]], factor: float) -> list[Way]:
    """Return the ways whose quickest round is slower than the best by at most a factor."""
    best = min(map(min, seconds.values()))
    return [way for way, times in seconds.items() if min(times) <= factor * best]


def _is_quiet(seconds: Mapping[Way, Sequence[float]]) -> bool:
    """Tell whether all were timed often enough, and those that matter as long in most rounds.

    Neighbours that take the same share of the cores all the time are not seen.
    """
    return all(len(times) >= LEAST for times in seconds.values()) and all(
        statistics.median(seconds[way]) <= QUIET * min(seconds[way])
        for way in _not_slower(seconds, HOPELESS)
    )


def _seconds(graph: OpenGraph, batch: Float32Array) -> float:
    started = time.perf_counter()
    graph.backbone.embed(batch)
    return time.perf_counter() - started
