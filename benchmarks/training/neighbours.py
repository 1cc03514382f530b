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
from pathlib import Path

import numpy as np

from augrank.contracts.run import BackboneName
from augrank.reporting import Reporter
from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.common.statistics import Median
from benchmarks.training.runs import FitRun
from benchmarks.training.targets import NEIGHBOURS
from simulation.render import render_catalogue

ORIGINALS, EPOCHS, WARM_UP_EPOCHS = 200, 8, 3
BUSY = "while True: pass"


@dataclass
class NeighbourMeasurement:
    """Images per second, by round."""

    alone: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # beside a process that keeps a core busy
    both: list[float] = field(default_factory=list)  # of two trainings together

    def ratios(self) -> dict[str, Median]:
        """Return both ratios to training alone, with their intervals."""
        return {
            "beside_busy_core_over_alone": Median.of_ratios(self.busy, self.alone),
            "two_side_by_side_over_alone": Median.of_ratios(self.both, self.alone),
        }


def measure_neighbours(
    backbone: BackboneName, size: int, rounds: int, scratch: Path, reporter: Reporter
) -> NeighbourMeasurement:
    """Measure training alone, beside a busy process, and twice at once, in turns.

    Args:
        backbone: its name.
        size: of the images, in pixels.
        rounds: number of turns of each.
        scratch: folder for rendered images, caches and runs.
        reporter: says what is being measured.
    """
    measured, catalogue = NeighbourMeasurement(), scratch / "neighbours"
    render_catalogue("sneaker", ORIGINALS, catalogue)

    def rate(name: str) -> float:
        run, cache = scratch / f"run-{name}", scratch / f"cache-{name}"
        fit = FitRun(catalogue / "images", run, EPOCHS, size, backbone, cache=cache)
        report, _ = fit.run()
        epochs = report["history"][WARM_UP_EPOCHS:]
        return float(np.median([epoch["samples_per_s"] for epoch in epochs]))

    for number in range(rounds):
        reporter.say(f"training beside other processes: round {number + 1} of {rounds}")
        measured.alone.append(rate("one"))
        with _busy_core():
            measured.busy.append(rate("one"))
        with ThreadPoolExecutor(2) as pool:
            measured.both.append(sum(pool.map(rate, ("one", "two"))))
    return measured


def neighbours_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks neighbours``."""
    return render("neighbours.md.j2", results, targets=neighbour_rows(results))


def neighbour_rows(results: Results) -> list[list[str]]:
    """Return the rows of the table of targets."""
    return [target.row(results["ratios"][target.name]) for target in NEIGHBOURS]


@contextmanager
def _busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()
