"""Targets of the systems that classify, on new images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.common.results import Results
from benchmarks.common.targets import PerformanceTarget, single
from benchmarks.labels.systems import SYSTEMS, System

RIGHT = PerformanceTarget(
    "right_at_least",
    "decided without a person and right, at least, with 95 % confidence",
    0.99,
    0.995,
)
RANKED = PerformanceTarget(
    "share_of_attainable",
    "pairs told rightly, share of those that could be",
    0.92,
    0.95,
    "The cause is not known.",
)


def target_rows(results: Results) -> list[list[str]]:
    """Return a table row for each network and target of these results' system."""
    system = SYSTEMS[results["system"]]
    return [
        replace(target, title=f"{backbone}: {target.title}").row(figure)
        for backbone, row in results["backbones"].items()
        for target, figure in _figures(system, row["fresh"])
    ]


def _figures(
    system: System, fresh: Mapping[str, Any]
) -> list[tuple[PerformanceTarget, dict[str, float]]]:
    """Return the targets of a system, each with its figure."""
    found = [(RIGHT, single(fresh["decisions"][RIGHT.name]))] if system.credit else []
    for rank in system.ranks:
        told = fresh[f"{rank}, rank"]
        low, high = told[f"{RANKED.name}_interval_95"]
        found.append((RANKED, {"median": told[RANKED.name], "low": low, "high": high}))
    return found
