"""Measure the histories of all worlds, on every core, resumed after an interrupt."""

from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from augrank.errors import DataError
from augrank.processes import worker_pool
from augrank.reporting import Reporter
from augrank.resources import usable_cores
from benchmarks.trust.measure import HistoryFigures, measure_history
from benchmarks.trust.store import HistoryStore, conditions
from benchmarks.trust.worlds import WORLDS, World


@dataclass(frozen=True)
class TrustConfig:
    """The amount of work."""

    histories: int  # of each world
    worlds: Sequence[World] = WORLDS
    quick: bool = False


# Every core has a history of its own. BLAS and OpenMP read these as they are loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
FULL = TrustConfig(histories=200)
QUICK = TrustConfig(histories=3, quick=True)
Measured = Mapping[str, Sequence[HistoryFigures]]  # by world, in the order of their seeds


def measure_worlds(config: TrustConfig, folder: Path, reporter: Reporter) -> Measured:
    """Measure every history that an earlier run has not measured.

    Args:
        config: the worlds, and the number of histories of each.
        folder: for the figures of finished histories.
        reporter: shows progress.

    Raises:
        DataError: a worker process was killed.
    """
    store = HistoryStore(folder, conditions())
    found = {world.name: store.open(world) for world in config.worlds}
    # In turns, so that an interrupted run has some of each world.
    missing = [
        (world, seed)
        for seed in range(config.histories)
        for world in config.worlds
        if seed not in found[world.name]
    ]
    total = len(config.worlds) * config.histories
    if len(missing) < total:
        reporter.say(f"{total - len(missing):,} of {total:,} histories are already measured")
    with reporter.bar("Histories", len(missing), "histories") as advance:
        try:
            with worker_pool(min(usable_cores(), max(1, len(missing))), ONE_THREAD) as pool:
                futures = {pool.submit(measure_history, *each): each[0] for each in missing}
                for future in as_completed(futures):
                    world, history = futures[future], future.result()
                    store.add(world, history)
                    found[world.name][history.seed] = history
                    advance(1, world.name)
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process ended early, most likely because memory ran out",
                remedy="Run it again: it resumes with the missing histories.",
            ) from error
    return {
        name: [histories[seed] for seed in range(config.histories)]
        for name, histories in found.items()
    }
