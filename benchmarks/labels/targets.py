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
DECIDED = PerformanceTarget("decided", "decided without a person", 0.85, 0.9)
RANKED = PerformanceTarget(
    "share_of_attainable",
    "pairs told rightly, share of those that could be",
    0.92,
    0.95,
)
PAIRS = PerformanceTarget(
    "ranks_tell_more",
    "pairs told rightly, share of all: more than by a network trained on classes alone",
    0,
    0.01,
)
MORE = PerformanceTarget(
    "macro_f1_more", "macro-F1 of {label}, less that of {first}", -0.015, -0.01
)
SPEED = PerformanceTarget("speed_ratio", "images a second, times those of {first}", 1.5, 2.0)
NAMES = {
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "worst_recall": "recall of the worst class",
}


def target_rows(results: Results) -> list[list[str]]:
    """Return a table row for each network and target of these results' system."""
    system, backbones = SYSTEMS[results["system"]], results["backbones"]
    return [
        replace(target, title=f"{backbone}: {target.title}").row(figure)
        for backbone, row in backbones.items()
        for target, figure in _figures(system, row, next(iter(backbones)))
    ]


Figure = tuple[PerformanceTarget, dict[str, float]]


def _figures(system: System, row: Mapping[str, Any], first: str) -> list[Figure]:
    """Return the targets of a system, each with its figure, also beside the first network's."""
    fresh = row["fresh"]
    found = list[Figure]()
    for label, bars in system.bars:
        told = fresh[label]
        for bar in bars:
            title = f"{NAMES[bar.figure]} of {label}"
            target = PerformanceTarget(bar.figure, title, bar.bound, bar.aim)
            found.append((target, _with_interval(told, bar.figure)))
        if MORE.name in told:
            title = MORE.title.format(label=label, first=first)
            found.append((replace(MORE, title=title), told[MORE.name]))
    if SPEED.name in row:
        found.append((replace(SPEED, title=SPEED.title.format(first=first)), row[SPEED.name]))
    if system.credit:
        decisions = fresh["decisions"]
        found += [(each, single(decisions[each.name])) for each in (DECIDED, RIGHT)]
    for rank in system.ranks:
        found.append((RANKED, _with_interval(fresh[f"{rank}, rank"], RANKED.name)))
        found.append((PAIRS, row["classes_alone"][rank][PAIRS.name]))
    return found


def _with_interval(told: Mapping[str, Any], name: str) -> dict[str, float]:
    low, high = told.get(f"{name}_interval_95", (told[name], told[name]))
    return {"median": told[name], "low": low, "high": high}
