"""The table of instance types with its plots, and the source's own table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from rich.table import Table

from benchmarks.instances.catalogue import SEED_ASSUMPTION, InstanceType, SeedFigure, seeds
from benchmarks.instances.figures import LOAD, ServingFigures, TrainingFigures
from benchmarks.instances.ledger import Ledger
from benchmarks.instances.run import left_out

DPI, SIZE_INCHES = 110, (7.0, 4.2)
Row = dict[str, Any]
COLUMNS = {
    "type": "type",
    "vcpu": "vCPU",
    "memory_gb": "GB",
    "gpus": "GPUs",
    "hours": "hours",
    "images_per_s": "img/s",
    "source_images_per_s": "source's img/s",
    "input_share": "waiting for input",
    "scaling_efficiency": "scaling efficiency",
    "usd_an_epoch": "$ per epoch",
    "answers_per_s": "answers/s",
    "p50_ms": f"p50 ms at {LOAD:.0%}",
    "p99_ms": f"p99 ms at {LOAD:.0%}",
    "usd_a_million": "$ per million answers",
}
SHARES = ("input_share", "scaling_efficiency")


def rows(
    kinds: Sequence[InstanceType], works: Sequence[str], ledger: Ledger, prices: Mapping[str, float]
) -> list[Row]:
    """Return one row for each type; None if there is no figure, with the reason in ``note``."""
    source = {figure.type: figure.images_per_s for figure in seeds()}
    training = {kind.name: ledger.figures("training", kind.name) for kind in kinds}
    return [
        {
            "type": kind.name,
            "vcpu": kind.vcpu,
            "memory_gb": kind.memory_gb,
            "gpus": kind.gpus,
            **_training(kind, kinds, training, prices.get(kind.name)),
            "source_images_per_s": source.get(kind.name),
            **_serving(ledger.figures("serving", kind.name), prices.get(kind.name)),
            "note": _note(kind, works, ledger),
        }
        for kind in kinds
    ]


def result(
    table: Sequence[Row], seeds: Sequence[SeedFigure], spent_usd: float, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the contents of results.json, which is also the last line of output."""
    return {
        "benchmark": "instances",
        **about,
        "spent_usd": round(spent_usd, 2),
        "rows": list(table),
        "seeds": [asdict(figure) for figure in seeds],
        "seeds_assumption": SEED_ASSUMPTION,
    }


def source_table(figures: Sequence[SeedFigure]) -> Table:
    """Return the source's own figures for the terminal, with corrections."""
    table = Table(title=f"The source's table; img/s {SEED_ASSUMPTION}", title_justify="left")
    for heading in ("type", "vCPU", "GB", "GPUs", "hours", "img/s"):
        table.add_column(heading, justify="left" if heading == "type" else "right")
    table.add_column("as printed")
    for each in figures:
        sizes = (str(each.vcpu), f"{each.memory_gb:g}", str(each.gpus))
        printed = ": ".join(filter(None, (each.printed_name, each.printed_size)))
        table.add_row(each.type, *sizes, f"{each.hours:g}", f"{each.images_per_s:.1f}", printed)
    return table


def results_table(table: Sequence[Row]) -> Table:
    """Return the results for the terminal, without empty columns."""
    filled = [name for name in COLUMNS if any(row[name] is not None for row in table)]
    shown = Table(title="Instance types", title_justify="left")
    for name in filled:
        shown.add_column(COLUMNS[name], justify="left" if name == "type" else "right")
    shown.add_column("")
    for row in table:
        shown.add_row(*(_cell(name, row[name]) for name in filled), row["note"])
    return shown


def draw(table: Sequence[Row], seeds: Sequence[SeedFigure], folder: Path) -> None:
    """Plot cost against latency, and speed-up by cores or GPUs beside the source's."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {"cost_latency": _cost_latency, "speed_up": _speed_up}
    for name, plot in plots.items():
        figure, axes = plt.subplots(figsize=SIZE_INCHES)
        plot(axes, table, seeds)
        figure.tight_layout()
        figure.savefig(folder / f"{name}.png", dpi=DPI)
        plt.close(figure)


def _training(
    kind: InstanceType,
    kinds: Sequence[InstanceType],
    training: Mapping[str, TrainingFigures | None],
    price: float | None,
) -> Row:
    seen = training[kind.name]
    if seen is None:
        names = ("hours", "images_per_s", "input_share", "scaling_efficiency", "usd_an_epoch")
        return dict.fromkeys(names)
    family = [k for k in kinds if k.family == kind.family and training[k.name] is not None]
    family = [k for k in family if bool(k.gpus) == bool(kind.gpus)]
    smallest = min(family, key=lambda k: (k.units, k.vcpu))
    least = training[smallest.name]
    assert least is not None
    per_unit = seen.images_per_s / kind.units
    return {
        "hours": seen.hours,
        "images_per_s": seen.images_per_s,
        "input_share": seen.input_share,
        "scaling_efficiency": per_unit / (least.images_per_s / smallest.units),
        "usd_an_epoch": None if price is None else seen.epoch_s / 3600 * price,
    }


def _serving(seen: ServingFigures | None, price: float | None) -> Row:
    names = ("answers_per_s", "clients", "lone_ms", "p50_ms", "p99_ms", "error_rate")
    if seen is None:
        return dict.fromkeys([*names, "usd_a_million"])
    # At the load of the measured latencies, not at a peak that no endpoint should run at.
    sold = LOAD * seen.answers_per_s
    cost = None if price is None or not sold else price / 3600 / sold * 1e6
    found = {name: getattr(seen, name) for name in names}
    return {**{n: _finite(value) for n, value in found.items()}, "usd_a_million": cost}


def _note(kind: InstanceType, works: Sequence[str], ledger: Ledger) -> str:
    notes = [left_out(work, kind) for work in works]  # type: ignore[arg-type]
    notes += [why for (_, name), why in ledger.failed.items() if name == kind.name]
    return "; ".join(filter(None, notes))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in SHARES:
        return f"{value:.0%}"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and value < 100
        else f"{value:,.0f}"
        if (isinstance(value, float))
        else str(value)
    )


def _cost_latency(axes: Axes, table: Sequence[Row], _seeds: Sequence[SeedFigure]) -> None:
    measured = [row for row in table if row["p99_ms"] is not None]
    cost = "usd_a_million" if any(row["usd_a_million"] is not None for row in measured) else None
    for row in measured:
        x = row[cost] if cost else row["answers_per_s"]
        if x is None:
            continue
        axes.plot(x, row["p99_ms"], "o")
        axes.annotate(
            row["type"], (x, row["p99_ms"]), fontsize=8, xytext=(4, 4), textcoords="offset points"
        )
    label = "$ per million answers" if cost else "answers per second (no prices given)"
    axes.set(
        xlabel=label,
        ylabel=f"p99 at {LOAD:.0%} of the peak, ms",
        ylim=(0, None),
        xlim=(0, None),
        title="Cost against latency" if cost else "Throughput against latency",
    )


def _speed_up(axes: Axes, table: Sequence[Row], seeds: Sequence[SeedFigure]) -> None:
    for gpu, mark in ((False, "o"), (True, "s")):
        unit = "GPUs" if gpu else "cores"
        families: dict[str, list[tuple[int, float]]] = {}
        for row in table:
            if row["images_per_s"] is not None and bool(row["gpus"]) == gpu:
                family = row["type"].rsplit(".", 1)[0]
                point = (row["gpus"] or row["vcpu"], row["images_per_s"])
                families.setdefault(family, []).append(point)
        for family, points in families.items():
            x, y = zip(*sorted(points), strict=True)
            (line,) = axes.plot(x, y, f"{mark}-", label=f"{family}, by {unit}")
            axes.plot(x, [y[0] * n / x[0] for n in x], "--", lw=0.8, color=line.get_color())
        source = sorted((s.units, s.images_per_s) for s in seeds if bool(s.gpus) == gpu)
        axes.plot(
            [units for units, _ in source],
            [rate for _, rate in source],
            mark,
            color="grey",
            markerfacecolor="none",
            label=f"source's table, by {unit} ({SEED_ASSUMPTION})",
        )
    axes.set(
        xlabel="cores, or GPUs (dashed: linear)",
        ylabel="images per second",
        title="Training speed-up",
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.legend(fontsize=7)
