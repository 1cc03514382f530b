"""Configuration and measurements of the serving benchmark."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.graphs import Way
from augrank.models.engines import Device
from augrank.serving.capacity import ServingPlan
from benchmarks.common.http_client import HttpEndpoint, Payload
from benchmarks.common.load import Replies
from benchmarks.serving.systems import DEFAULT, SystemUnderTest


@dataclass(frozen=True)
class ServingBenchConfig:
    """The amount of work: rounds, durations and loads."""

    quick: bool
    rounds: int
    closed_s: float  # closed loop of one server, per round
    sweep_s: float  # closed loop of each number of clients, before the rounds
    sweep: tuple[int, ...]  # numbers of clients per worker to try; 0 for a single client
    checked: int  # images whose answers are compared
    in_process_s: float  # in-process baseline, per round
    lone: int  # requests of a lone client, per round
    loads: tuple[float, ...]  # shares of the peak, in the open loop
    open_s: float
    overload_s: float
    loadgen_s: float
    scaling: bool
    score_images: int  # of each run of ``augrank score``
    score_runs: int


FULL = ServingBenchConfig(
    quick=False,
    rounds=7,
    closed_s=6.0,
    sweep_s=3.0,
    sweep=(0, 1, 2, 4),
    checked=40,
    in_process_s=3.0,
    lone=30,
    loads=(0.3, 0.5, 0.7, 0.9),
    open_s=60.0,
    overload_s=60.0,
    loadgen_s=20.0,
    scaling=True,
    score_images=1000,
    score_runs=3,
)
QUICK = ServingBenchConfig(
    quick=True,
    rounds=2,
    closed_s=1.5,
    sweep_s=0.7,
    sweep=(0, 2),
    checked=4,
    in_process_s=0.7,
    lone=6,
    loads=(0.7, 0.9),
    open_s=5.0,
    overload_s=4.0,
    loadgen_s=2.0,
    scaling=False,
    score_images=60,
    score_runs=1,
)


@dataclass
class ServerMeasurement:
    """A running server and its measurements."""

    system: SystemUnderTest
    endpoint: HttpEndpoint
    bodies: list[Payload]
    clients: int = 1  # the number at its peak throughput
    rates: list[float] = field(default_factory=list)  # answers per second, by round
    loaded: list[Replies] = field(default_factory=list)  # closed loop, by round
    lone_ms: list[NDArray[np.float64]] = field(default_factory=list)  # by round
    stages_ms: list[NDArray[np.float64]] = field(default_factory=list)  # (requests, STAGES)


@dataclass(frozen=True)
class BestServerMeasurement:
    """The scenarios of only augrank's server, as a user gets it."""

    peak: float  # answers per second
    open: dict[float, Replies]  # by share of the peak
    overload: dict[str, Any]
    thumbnails: list[float]  # throughput with, over without, by round
    cache_ms: tuple[NDArray[np.float64], NDArray[np.float64]]  # hits, misses
    mlperf: dict[str, Any]


@dataclass(frozen=True)
class ServingMeasurements:
    """All measurements of one run of the benchmark."""

    plan: ServingPlan
    config: ServingBenchConfig
    device: Device
    chosen: Way  # what ``auto`` takes on this machine; the peers get the same
    servers: dict[str, ServerMeasurement]
    pipeline: dict[Way, list[float]]  # in process, requests per second, by round
    forward: dict[Way, list[float]]  # passes of one request's candidates per second
    best: BestServerMeasurement
    scaling: dict[int, float]  # answers per second, by number of workers
    worker_mb: list[float]  # own memory of each worker of the default server
    score: list[tuple[float, float]]  # images per second: the command, the pipeline; by run
    skipped: dict[str, str]  # reasons of servers that did not start
    gemm_gigaflops: float  # the better of two, before and after

    @property
    def default(self) -> ServerMeasurement:
        """augrank's server as a user gets it."""
        return self.servers[DEFAULT]

    def augrank(self, way: Way) -> ServerMeasurement:
        """Return augrank's server that was told to go this way."""
        return self.servers[f"{DEFAULT} {way.label}"]
