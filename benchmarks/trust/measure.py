"""Measure one history: simulate it, fit the head, and check decisions about new images."""

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.trust.decision_figures import Figures, figures
from benchmarks.trust.history import fit, simulate_history
from benchmarks.trust.methods import EnsembleMethod, Method, NaiveMethod, PosteriorMethod
from benchmarks.trust.worlds import Population, World, cases

OURS, NAIVE, ENSEMBLE = "augrank", "best of k", "ensemble"
METHODS = (OURS, NAIVE, ENSEMBLE)
ENSEMBLE_EVERY = 8  # histories; twenty boosters take longer than all the rest
DECISIONS, ALTERNATE_DECISIONS = 90, 45  # of each history: multiples of the campaigns


@dataclass(frozen=True)
class HistoryFigures:
    """The figures of one history, by method."""

    seed: int
    methods: Mapping[str, Figures]
    seconds: float


def measure_history(world: World, seed: int) -> HistoryFigures:
    """Measure all methods on one history.

    Args:
        world: what decides outcomes.
        seed: number of the history; another one in another world.
    """
    started = time.perf_counter()
    rng = np.random.default_rng([seed, zlib.crc32(world.name.encode())])
    count = DECISIONS if world.options == "candidates" else ALTERNATE_DECISIONS
    population = Population.draw(world, world.originals + count, rng)
    history = simulate_history(world, population, rng)
    fitted = fit(history, seed)
    methods: dict[str, Method] = {
        OURS: PosteriorMethod(fitted, world.options),
        NAIVE: NaiveMethod(fitted),
    }
    if seed % ENSEMBLE_EVERY == 0:
        methods[ENSEMBLE] = EnsembleMethod.fit(fitted, history, seed)
    decisions = cases(world, population, count)
    found = {}
    for name, method in methods.items():
        judged = figures([method.judge(case) for case in decisions])
        cost = {
            "added_ms": (method.added_ms, 1.0),
            "added_bytes": (float(method.added_bytes), 1.0),
        }
        found[name] = {**judged, **cost}
    return HistoryFigures(seed, found, time.perf_counter() - started)
