"""Plots of the serving benchmark."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from benchmarks.common.plots import figure
from benchmarks.serving.measurements import ServingMeasurements
from benchmarks.serving.pipeline import STAGES

SMALL_TEXT = 8  # points


def draw_all(measured: ServingMeasurements, folder: Path) -> list[Path]:
    """Draw throughput against p99, latency CDF, time by stage, and scaling.

    Args:
        measured: a run of the benchmark.
        folder: the folder for the PNG files.

    Returns:
        The files written.
    """
    files = []
    for name, draw in {
        "throughput_p99": _throughput,
        "latency_cdf": _latency_cdf,
        "time_of_a_request": _stages,
        "scaling": _scaling,
    }.items():
        file = folder / f"{name}.png"
        with figure(file) as axes:
            draw(axes, measured)
        files.append(file)
    return files


def _throughput(axes: Axes, measured: ServingMeasurements) -> None:
    for name, server in measured.servers.items():
        p99 = float(np.median([replies.percentile(99)[0] for replies in server.loaded]))
        point = float(np.median(server.rates)), p99
        axes.plot(*point, "o")
        axes.annotate(name, point, fontsize=SMALL_TEXT, xytext=(4, 4), textcoords="offset points")
    best = measured.best
    rates = [share * best.peak for share in best.open]
    open_loop_p99 = [replies.percentile(99)[0] for replies in best.open.values()]
    axes.plot(rates, open_loop_p99, "k.-", label=f"augrank ({measured.chosen.label}), open loop")
    axes.set(
        xlabel="answers per second",
        ylabel="p99, ms",
        title="Throughput against p99",
        ylim=(0, None),
        xlim=(0, None),
    )
    axes.legend(fontsize=SMALL_TEXT)


def _latency_cdf(axes: Axes, measured: ServingMeasurements) -> None:
    for share, replies in measured.best.open.items():
        latency = np.sort(replies.latency_ms[replies.ok])
        axes.plot(latency, np.linspace(0, 1, len(latency)), label=f"{share:.0%} of the peak")
    axes.set(
        xlabel="ms from the intended send time",
        ylabel="share of requests",
        title=f"Latency in the open loop, augrank ({measured.chosen.label})",
    )
    axes.legend(fontsize=SMALL_TEXT)


def _stages(axes: Axes, measured: ServingMeasurements) -> None:
    servers = {
        name: server
        for name, server in measured.servers.items()
        if any(len(part) for part in server.stages_ms)
    }
    names, left = list(servers), np.zeros(len(servers))
    for column, stage in enumerate(STAGES[:-1]):
        widths = [
            float(np.median(np.concatenate(server.stages_ms)[:, column]))
            for server in servers.values()
        ]
        axes.barh(names, widths, left=left, label=stage)
        left += widths
    lone = [float(np.median(np.concatenate(server.lone_ms))) for server in servers.values()]
    axes.barh(names, np.array(lone) - left, left=left, label="HTTP, queue", color="lightgrey")
    axes.set(xlabel="ms, a lone client", title="Time of a request by stage")
    axes.invert_yaxis()
    axes.legend(fontsize=SMALL_TEXT)


def _scaling(axes: Axes, measured: ServingMeasurements) -> None:
    workers = sorted(measured.scaling)
    rates = [measured.scaling[number] for number in workers]
    axes.plot(workers, rates, "o-", label="measured")
    axes.plot(workers, [rates[0] * n / workers[0] for n in workers], "--", label="linear")
    axes.set(
        xlabel="workers of one thread",
        ylabel="answers per second",
        xticks=workers,
        title=f"Scaling, augrank ({measured.chosen.label})",
        ylim=(0, None),
    )
    axes.legend(fontsize=SMALL_TEXT)
