"""The figures measured on one instance type, by the same code locally and on AWS."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from augrank.errors import ServerError
from augrank.reporting import ShowStatus
from benchmarks.common.http_client import LoadTarget, Payload
from benchmarks.common.load import closed_loop, open_loop
from benchmarks.instances.catalogue import InstanceType

LOAD = 0.7  # of the peak, at which latencies are measured


@dataclass(frozen=True)
class TrainingFigures:
    """Figures of a training run."""

    images_per_s: float  # median over epochs, without the first if there are more
    input_share: float  # of an epoch's time, waiting for images
    epoch_s: float
    hours: float  # of the whole run, as billed


@dataclass(frozen=True)
class ServingFigures:
    """Figures of an endpoint under load."""

    answers_per_s: float  # at its peak
    clients: int  # at its peak throughput
    lone_ms: float  # median of a lone client
    p50_ms: float  # at LOAD of the peak, from the intended send time
    p99_ms: float
    error_rate: float  # at LOAD of the peak


@dataclass(frozen=True)
class LoadPlan:
    """Durations of the loads on an endpoint."""

    turn_s: float
    open_s: float
    most_clients: int


FULL_LOAD, QUICK_LOAD = LoadPlan(8.0, 60.0, 64), LoadPlan(2.0, 8.0, 8)


class LeftRunning(ServerError):
    """A resource could not be removed and may still cost money."""


class Platform(Protocol):
    """A platform for measuring instance types; raises LeftRunning if it could not clean up."""

    def train(self, kind: InstanceType, step: ShowStatus) -> TrainingFigures:
        """Train on this type, and clean up."""

    def serve(self, kind: InstanceType, step: ShowStatus) -> ServingFigures:
        """Serve on this type, put it under load, and clean up."""

    def clean(
        self, works: Sequence[str], kinds: Sequence[InstanceType], step: ShowStatus
    ) -> list[str]:
        """Remove leftovers of an earlier call, except those that a call for these types continues.

        Returns:
            Descriptions of what was removed, for display.
        """


def training_figures(
    rates: list[float], seconds: list[float], shares: list[float], hours: float
) -> TrainingFigures:
    """Summarise epochs: images per second, seconds, share of time spent waiting for input."""
    settled = slice(1, None) if len(rates) > 1 else slice(None)
    return TrainingFigures(
        images_per_s=float(np.median(rates[settled])),
        input_share=float(np.median(shares[settled])),
        epoch_s=float(np.median(seconds[settled])),
        hours=hours,
    )


def measure_load(
    endpoint: LoadTarget, bodies: list[Payload], plan: LoadPlan, step: ShowStatus
) -> ServingFigures:
    """Find the peak throughput of an endpoint, then its latencies at LOAD of it.

    The number of clients is doubled while that gives a tenth more answers.
    """
    step("one client")
    lone = closed_loop(endpoint, bodies, clients=1, seconds=plan.turn_s)
    best, clients, tried = lone, 1, 2
    while tried <= plan.most_clients:
        step(f"{tried} clients")
        replies = closed_loop(endpoint, bodies, clients=tried, seconds=plan.turn_s)
        if replies.rate < 1.1 * best.rate:
            break
        best, clients, tried = replies, tried, 2 * tried
    rate = LOAD * best.rate
    step(f"open loop at {LOAD:.0%} of {best.rate:.1f} answers/s")
    loaded = open_loop(
        endpoint, bodies, rate=rate, seconds=plan.open_s, seed=0, clients=8 * clients
    )
    p50, p99 = loaded.percentile(50, 99)
    return ServingFigures(
        answers_per_s=best.rate,
        clients=clients,
        lone_ms=lone.percentile(50)[0],
        p50_ms=p50,
        p99_ms=p99,
        error_rate=float(1 - loaded.ok.mean()),
    )
