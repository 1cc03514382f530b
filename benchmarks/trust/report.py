"""The results of the trust benchmark: figures by world and method, and over all worlds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from augrank.models.targets import TARGETS
from augrank.reporting import Table
from augrank.resources import usable_cores
from augrank.trust.verdict import LEVEL
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION, Results
from benchmarks.trust.decision_figures import STRATUM, Figures, Pooled, pool, worst_stratum
from benchmarks.trust.measure import ENSEMBLE_EVERY, METHODS, OURS
from benchmarks.trust.real import ALTERNATES, CANDIDATES
from benchmarks.trust.run import Measured, TrustConfig
from benchmarks.trust.worlds import World

# Of the last line, by world.
SUMMARY = (
    "coverage",
    "coverage_chosen",
    "false_switch_rate",
    "power",
    "true_over_claimed",
    "ece",
    "added_ms",
    "added_bytes",
)
WORST = "coverage_worst"
FIGURES = (
    *SUMMARY,
    "coverage_first",
    "coverage_difference",
    "coverage_difference_chosen",
    "false_claims",
    "regret",
    "error",
    "unsure",
)
COLUMNS = {  # of the terminal's tables
    "coverage": "coverage",
    WORST: "worst stratum",
    "coverage_chosen": "of chosen",
    "false_switch_rate": "false switch",
    "power": "power",
    "true_over_claimed": "true/claimed",
    "regret": "regret",
    "ece": "ECE",
    "added_ms": "added ms",
}
TITLES = {
    CANDIDATES: "candidates of held-out images",
    ALTERNATES: "alternates to held-out images",
}
DIGITS = 6
Figure = dict[str, float]  # value, low and high
Real = Mapping[str, Sequence[Figures]]  # figures by head


def result_json(
    config: TrustConfig, measured: Measured, real: Real, command: str
) -> dict[str, Any]:
    """Return the content of results.json.

    Args:
        config: the worlds.
        measured: figures of their histories.
        real: figures of the worlds through real images; empty if there are none.
        command: what was typed.
    """
    worlds = [_world(world, measured) for world in config.worlds]
    real_worlds = [
        {"name": name, "title": TITLES[name], "methods": {OURS: _figures(heads)}}
        for name, heads in real.items()
    ]
    overall = {name: _overall(config.worlds, measured, name) for name in METHODS}
    overall[OURS] |= _costs(overall[OURS], real)
    by_world = {
        key: {
            **{
                world["name"]: _value(world["methods"][OURS][key])
                for world in (*worlds, *real_worlds)
            },
            "overall": _value(overall[OURS][key]),
        }
        for key in SUMMARY
    }
    return {
        "benchmark": "trust",
        "results_version": RESULTS_VERSION,
        "command": command,
        "quick": config.quick,
        "machine": machine(usable_cores()),
        "level": LEVEL,
        "histories": config.histories,
        "ensemble_every": ENSEMBLE_EVERY,
        "worlds": worlds,
        "real": real_worlds,
        "overall": overall,
        **by_world,
    }


def last_line(results: Results) -> dict[str, Any]:
    """Return the results in short: our figures by world, and those over all worlds."""
    overall = {name: _value(figure) for name, figure in results["overall"][OURS].items()}
    names = ("benchmark", "quick", "histories", *SUMMARY)
    return {**{name: results[name] for name in names}, "overall": overall}


def tables(results: Results) -> list[Table]:
    """Return a table of each method, by world."""
    made = []
    for method in METHODS:
        rows = [
            [world["name"], *(value_text(world["methods"][method][name]) for name in COLUMNS)]
            for world in (*results["worlds"], *results["real"])
            if method in world["methods"]
        ]
        made.append(Table(method, ("world", *COLUMNS.values()), rows))
    return made


def value_text(figure: Figure | None) -> str:
    """Format a figure's value; a dash if nothing was counted."""
    return "-" if figure is None else f"{figure['value']:.3f}"


def _world(world: World, measured: Measured) -> dict[str, Any]:
    methods = {name: _histories([world], measured, name) for name in METHODS}
    return {
        "name": world.name,
        "title": world.title,
        "histories": len(measured[world.name]),
        "methods": {name: _figures(found) for name, found in methods.items() if found},
    }


def _histories(worlds: Sequence[World], measured: Measured, method: str) -> list[Figures]:
    """Return a method's figures of all histories of worlds; not every history has every method."""
    return [
        each.methods[method]
        for world in worlds
        for each in measured[world.name]
        if method in each.methods
    ]


def _figures(histories: Sequence[Figures]) -> dict[str, Figure | None]:
    strata = {name for each in histories for name in each if name.startswith(STRATUM)}
    found = {name: _figure(pool(histories, name)) for name in (*FIGURES, *sorted(strata))}
    return {**found, WORST: _figure(worst_stratum(histories))}


def _overall(worlds: Sequence[World], measured: Measured, method: str) -> dict[str, Figure | None]:
    """Pool a method's figures over all simulated worlds, each history alike.

    Returns:
        Besides the figures of a world: ``nothing_helps``, the ``false_switch_rate`` where no
        candidate helps, and ``ample_power``, the ``power`` where the data are ample. The worst
        stratum is that of the worst world; a request has candidates and alternates, so
        ``added_ms`` is the sum of both.
    """

    def pooled(chosen: Sequence[World], name: str) -> Figure | None:
        return _figure(pool(_histories(chosen, measured, method), name))

    candidates = [world for world in worlds if world.options == "candidates"]
    alternates = [world for world in worlds if world.options == "alternates"]
    of_worlds = [_world(world, measured)["methods"].get(method, {}).get(WORST) for world in worlds]
    worst = [figure for figure in of_worlds if figure is not None]
    times = [pooled(chosen, "added_ms") for chosen in (candidates, alternates)]
    return {
        **{name: pooled(worlds, name) for name in FIGURES},
        WORST: min(worst, key=lambda figure: figure["value"], default=None),
        "nothing_helps": pooled(
            [world for world in candidates if world.rule == "nothing"], "false_switch_rate"
        ),
        "ample_power": pooled([world for world in worlds if world.rule == "lift"], "power"),
        "added_ms": _single(sum(time["value"] for time in times if time is not None)),
    }


def _costs(overall: Mapping[str, Figure | None], real: Real) -> dict[str, Figure | None]:
    """Return ``added_ms`` and ``added_bytes`` of a bundle: of the given one, or of one like it."""
    if not real:
        one = overall["added_bytes"]
        return {"added_bytes": one and _single(one["value"] * len(TARGETS))}
    times = [pool(heads, "added_ms") for heads in real.values()]
    size = pool(real[CANDIDATES], "added_bytes")
    return {
        "added_ms": _single(sum(time.value for time in times if time is not None)),
        "added_bytes": _figure(size),
    }


def _figure(pooled: Pooled | None) -> Figure | None:
    """Return a figure as plain data, rounded."""
    if pooled is None:
        return None
    return {key: round(value, DIGITS) for key, value in asdict(pooled).items()}


def _single(value: float) -> Figure:
    return dict.fromkeys(("value", "low", "high"), round(value, DIGITS))


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure["value"]
