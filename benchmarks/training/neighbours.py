"""Training beside other processes: how much of its speed is left, and of both if there are two.

Each row is the command ``fit`` as a user starts it, on the machine's cores: alone, beside a process
that keeps one core busy, and twice at once. They alternate, so that ratios do not depend on the
load of the machine. The first epochs are left out: reading images, and noticing the neighbour.
"""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from benchmarks.training.measurements import TrainingBench
from benchmarks.training.runs import FitRun
from simulation.render import render_catalogue

ORIGINALS, EPOCHS, WARM_UP_EPOCHS = 200, 8, 3
ROUNDS, QUICK_ROUNDS = 5, 1
BUSY = "while True: pass"


@dataclass
class NeighbourMeasurement:
    """Images per second, by round."""

    alone: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # beside a process that keeps a core busy
    both: list[float] = field(default_factory=list)  # of two trainings together


def measure_neighbours(bench: TrainingBench) -> NeighbourMeasurement:
    """Measure training alone, beside a busy process, and twice at once, in turns."""
    config, measured = bench.config, NeighbourMeasurement()
    catalogue = bench.scratch / "neighbours"
    render_catalogue("sneaker", ORIGINALS, catalogue)

    def rate(name: str) -> float:
        fit = FitRun(
            catalogue / "images",
            bench.scratch / f"run-{name}",
            EPOCHS,
            config.sizes[0],
            config.backbones[0],
            cache=bench.scratch / f"cache-{name}",
        )
        report, _ = fit.run()
        epochs = report["history"][WARM_UP_EPOCHS:]
        return float(np.median([epoch["samples_per_s"] for epoch in epochs]))

    rounds = QUICK_ROUNDS if config.quick else ROUNDS
    for number in range(rounds):
        bench.reporter.say(f"training beside other processes: round {number + 1} of {rounds}")
        measured.alone.append(rate("one"))
        with _busy_core():
            measured.busy.append(rate("one"))
        with ThreadPoolExecutor(2) as pool:
            measured.both.append(sum(pool.map(rate, ("one", "two"))))
    return measured


@contextmanager
def _busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()
