"""Plots of the serving benchmark."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.serving.measurements import STAGES, Measured

DPI, SIZE_INCHES = 110, (7.0, 4.2)


def draw_all(seen: Measured, folder: Path) -> list[Path]:
    """Throughput against p99, latency CDF, where a request's time goes, scaling.

    Args:
        seen: the benchmark's.
        folder: where the PNGs go.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, draw in {
        "throughput_p99": _throughput,
        "latency_cdf": _latency_cdf,
        "time_of_a_request": _stages,
        "scaling": _scaling,
    }.items():
        figure, axes = plt.subplots(figsize=SIZE_INCHES)
        draw(axes, seen)
        figure.tight_layout()
        file = folder / f"{name}.png"
        figure.savefig(file, dpi=DPI)
        plt.close(figure)
        drawn.append(file)
    return drawn


def _throughput(axes: Axes, seen: Measured) -> None:
    for name, standing in seen.servers.items():
        p99 = [replies.percentile(99)[0] for replies in standing.loaded]
        axes.plot(np.median(standing.rates), np.median(p99), "o")
        axes.annotate(name, (np.median(standing.rates), np.median(p99)), fontsize=8,
                      xytext=(4, 4), textcoords="offset points")  # fmt: skip
    rates = [share * seen.peak for share in seen.open]
    p99 = [replies.percentile(99)[0] for replies in seen.open.values()]
    axes.plot(rates, p99, "k.-", label=f"augrank {seen.fast}, open loop")
    axes.set(xlabel="answers per second", ylabel="p99, ms", title="Throughput against p99",
             ylim=(0, None), xlim=(0, None))  # fmt: skip
    axes.legend(fontsize=8)


def _latency_cdf(axes: Axes, seen: Measured) -> None:
    for share, replies in seen.open.items():
        latency = np.sort(replies.latency_ms[replies.ok])
        axes.plot(latency, np.linspace(0, 1, len(latency)), label=f"{share:.0%} of the peak")
    axes.set(xlabel="ms from the intended send time", ylabel="share of requests",
             title=f"Latency in the open loop, augrank {seen.fast}")  # fmt: skip
    axes.legend(fontsize=8)


def _stages(axes: Axes, seen: Measured) -> None:
    names = [n for n, s in seen.servers.items() if any(len(part) for part in s.stages_ms)]
    left = np.zeros(len(names))
    for stage in STAGES[:-1]:
        column = STAGES.index(stage)
        widths = [
            float(np.median(np.concatenate(seen.servers[n].stages_ms)[:, column])) for n in names
        ]
        axes.barh(names, widths, left=left, label=stage)
        left += widths
    lone = [float(np.median(np.concatenate(seen.servers[n].lone_ms))) for n in names]
    axes.barh(names, np.array(lone) - left, left=left, label="HTTP, queue", color="lightgrey")
    axes.set(xlabel="ms, a lone client", title="Where a request's time goes")
    axes.invert_yaxis()
    axes.legend(fontsize=8)


def _scaling(axes: Axes, seen: Measured) -> None:
    workers = sorted(seen.scaling)
    rates = [seen.scaling[number] for number in workers]
    axes.plot(workers, rates, "o-", label="measured")
    axes.plot(workers, [rates[0] * n / workers[0] for n in workers], "--", label="linear")
    axes.set(xlabel="workers of one thread", ylabel="answers per second", xticks=workers,
             title=f"Scaling, augrank {seen.fast}", ylim=(0, None))  # fmt: skip
    axes.legend(fontsize=8)
