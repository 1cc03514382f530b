"""What the serving benchmark knows: how long to measure, running servers, what was seen."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.spec import Precision
from augrank.models.engines import Device
from augrank.serving.capacity import ServingPlan
from benchmarks.common.load import Body, Endpoint, Replies
from benchmarks.serving.systems import Contestant

STAGES = ("decode", "augment", "embed", "score", "rank", "total")


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    quick: bool
    rounds: int
    closed_s: float  # a server's turn
    sweep_s: float  # of one number of clients, before the rounds
    sweep: tuple[int, ...]  # clients per worker; 0 for a lone one
    checked: int  # images whose answers are compared
    control_s: float  # a control's turn
    lone: int  # requests of a lone client, a round
    loads: tuple[float, ...]  # of the peak, in the open loop
    open_s: float
    overload_s: float
    loadgen_s: float
    scaling: bool
    openvino: bool  # whether to compare it, where it is installed


FULL = Effort(
    quick=False, rounds=7, closed_s=6.0, sweep_s=3.0, sweep=(0, 1, 2, 4), checked=40, control_s=3.0,
    lone=30, loads=(0.3, 0.5, 0.7, 0.9), open_s=60.0, overload_s=60.0, loadgen_s=20.0, scaling=True,
    openvino=True,
)  # fmt: skip
QUICK = Effort(
    quick=True, rounds=2, closed_s=1.5, sweep_s=0.7, sweep=(0, 2), checked=4, control_s=0.7,
    lone=6, loads=(0.7, 0.9), open_s=5.0, overload_s=4.0, loadgen_s=2.0, scaling=False,
    openvino=False,
)  # fmt: skip


@dataclass
class Standing:
    """A running server and what was seen of it."""

    contestant: Contestant
    endpoint: Endpoint
    bodies: list[Body]
    clients: int = 1  # with which it answers most
    rates: list[float] = field(default_factory=list)  # answers per second, by round
    loaded: list[Replies] = field(default_factory=list)
    lone_ms: list[NDArray[np.float64]] = field(default_factory=list)  # by round
    stages_ms: list[NDArray[np.float64]] = field(default_factory=list)  # (requests, STAGES)


@dataclass(frozen=True)
class Measured:
    """All that a run of the benchmark saw."""

    plan: ServingPlan
    effort: Effort
    device: Device
    fast: Precision  # int8 on a CPU and fp16 on a GPU, where the bundle has it
    servers: dict[str, Standing]
    pipeline: dict[Precision, list[float]]  # requests per second, by round
    forward: dict[Precision, list[float]]  # of one request's candidates
    open: dict[float, Replies]  # by share of the peak
    peak: float
    overload: dict[str, Any]
    thumbnails: list[float]  # throughput with, over without, by round
    cache_ms: tuple[NDArray[np.float64], NDArray[np.float64]]  # hits, misses
    scaling: dict[int, float]  # answers per second by workers
    mlperf: dict[str, Any]
    skipped: dict[str, str]  # servers that did not come up, and why
    gemm_gigaflops: float  # the best of two, before and after

    def ours(self, precision: Precision) -> Standing:
        """Our server of this precision."""
        return self.servers[f"augrank {precision}"]
