"""The training benchmark as ratios, a table, plots and one JSON object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from rich.table import Table

from benchmarks.common.statistics import Median, machine
from benchmarks.training.measure import Effort, Seen, SeenCompiled, SeenInput
from benchmarks.training.runs import SeenJob, SeenRuns, SeenScaling
from benchmarks.training.targets import ACCURACY, RATIOS, SHARED
from training.common.device import Device

DPI, SIZE_INCHES = 110, (7.0, 4.2)


@dataclass(frozen=True)
class Measured:
    """All that a run of the benchmark saw."""

    device: Device
    threads: int
    effort: Effort
    seen: Sequence[Seen]
    inputs: Sequence[SeenInput]
    runs: SeenRuns
    scaling: SeenScaling
    compiled: SeenCompiled | None = None  # not of a quick run
    job: SeenJob | None = None  # on GPUs alone


def question(effort: Effort, device: Device, threads: int) -> dict[str, Any]:
    """What decides the figures; plain data, as JSON gives it back."""
    rooms = [
        Path(__file__).parents[2] / room
        for room in ("augrank", "training", "simulation", "benchmarks")
    ]
    content = {
        "effort": asdict(effort),
        "engine": device.name,
        "gpu": torch.cuda.get_device_name() if device.is_cuda else None,
        "machine": machine(threads),
        "torch": torch.__version__,
        "sources": max(file.stat().st_mtime for room in rooms for file in room.rglob("*.py")),
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def result_json(measured: Measured, command: str) -> dict[str, Any]:
    """What results.json holds. ``ratios`` are of the first backbone and size."""
    scaling = measured.scaling
    return {
        "benchmark": "training",
        "command": command,
        "quick": measured.effort.quick,
        "machine": machine(measured.threads),
        "gpu": torch.cuda.get_device_name() if measured.device.is_cuda else None,
        "engine": measured.device.name,
        "torch": torch.__version__,
        "images": measured.effort.images,
        "epochs": measured.effort.epochs,
        "ratios": {name: figure.to_dict() for name, figure in _ratios(measured).items()},
        ACCURACY.name: Median.of(
            np.subtract(measured.runs.ours_accuracy, measured.runs.naive_accuracy)
        ).to_dict(),
        "backbones": [_backbone(seen) for seen in measured.seen],
        "inputs": [
            {
                "size": seen.size,
                **{
                    name: Median.of(getattr(seen, name), 1).to_dict()
                    for name in ("warm", "cold", "imagefolder")
                },
            }
            for seen in measured.inputs
        ],
        "runs": asdict(measured.runs),
        "scaling": {
            "of": scaling.of,
            "rates": [
                {
                    "processes": count,
                    "rate": Median.of(rates, 1).to_dict(),
                    "over_one": _paired(rates, scaling.rates[1]).to_dict(),
                }
                for count, rates in scaling.rates.items()
            ],
            "shared_over_one": _paired(scaling.shared, scaling.rates[1]).to_dict(),
        },
        "job": measured.job and asdict(measured.job),
        "compiled": measured.compiled and {
            "backbone": measured.compiled.backbone, "size": measured.compiled.size,
            "first_step_s": measured.compiled.first_step_s,
            "compiled_over_eager":
                _paired(measured.compiled.compiled, measured.compiled.eager).to_dict(),
        },
    }  # fmt: skip


def shown(content: Mapping[str, Any]) -> Table:
    """For the terminal."""
    table = Table(title="Training, images a second", title_justify="left")
    for heading in ("backbone", "px", "synthetic", "real", "cold", "real / synthetic", "waiting",
                    "embeddings", "eager float32", "memory, MB"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "backbone" else "right")
    for row in content["backbones"]:
        table.add_row(
            row["backbone"], str(row["size"]), *(f"{row[name]['median']:.0f}" for name in
            ("synthetic", "real", "cold")), f"{row['real_over_synthetic']['median']:.3f}",
            f"{row['waiting']:.1%}", *(f"{row[name]['median']:.0f}" for name in
            ("embed", "eager")), f"{row['peak_mb']:.0f}",
        )  # fmt: skip
    return table


def ratios_table(content: Mapping[str, Any]) -> Table:
    """The ratios beside what they should be at least."""
    table = Table(title="Ratios, in one run", title_justify="left")
    for heading in ("ratio", "median", "low", "high", "at least", "aim"):
        table.add_column(heading, justify="left" if heading == "ratio" else "right")
    figures = {**content["ratios"], **content["scaling"], **content}
    for target in (*RATIOS, SHARED, ACCURACY):
        figure = figures[target.name]
        parts = (f"{figure[key]:.3g}" for key in ("median", "low", "high"))
        table.add_row(target.words, *parts, f"{target.least:g}", f"{target.aim:g}")
    return table


def draw(content: Mapping[str, Any], folder: Path) -> None:
    """Training speed by backbone, the input path's, and that of more processes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = content["backbones"]
    labels = [f"{row['backbone']}\n{row['size']} px" for row in rows]
    _bars(folder / "training.png", labels, {
        name: [row[name]["median"] for row in rows] for name in ("synthetic", "real", "cold")
    }, "Training, images per second")  # fmt: skip
    inputs = content["inputs"]
    _bars(folder / "input.png", [f"{seen['size']} px" for seen in inputs], {
        name: [seen[name]["median"] for seen in inputs] for name in ("imagefolder", "cold", "warm")
    }, "The input path alone, images per second")  # fmt: skip
    scaling = content["scaling"]
    one = scaling["rates"][0]["rate"]["median"]
    _bars(folder / "scaling.png", [str(row["processes"]) for row in scaling["rates"]], {
        "measured": [row["rate"]["median"] for row in scaling["rates"]],
        "as many times one": [row["processes"] * one for row in scaling["rates"]],
    }, f"Processes, a {scaling['of']} each, images per second")  # fmt: skip


def _ratios(measured: Measured) -> dict[str, Median]:
    first, inputs, runs = measured.seen[0], measured.inputs[0], measured.runs
    scaling = measured.scaling
    return {
        "real_over_synthetic": _paired(first.real, first.synthetic),
        "loader_cold_over_imagefolder": _paired(inputs.cold, inputs.imagefolder),
        "loader_warm_over_imagefolder": _paired(inputs.warm, inputs.imagefolder),
        "run_over_naive": _paired(runs.naive_s, runs.ours_s),
        "two_processes_over_one": _paired(scaling.rates[2], scaling.rates[1]),
        "embed_over_eager": _paired(first.embed, first.eager),
    }


def _backbone(seen: Seen) -> dict[str, Any]:
    rates = ("synthetic", "real", "cold", "embed", "eager")
    return {
        "backbone": seen.backbone,
        "size": seen.size,
        **{name: Median.of(getattr(seen, name), 1).to_dict() for name in rates},
        "real_over_synthetic": _paired(seen.real, seen.synthetic).to_dict(),
        "embed_over_eager": _paired(seen.embed, seen.eager).to_dict(),
        "waiting": round(float(np.median(seen.waiting)), 4),
        "peak_mb": round(seen.peak_mb),
        "compiled": seen.compiled,
    }


def _paired(above: Sequence[float], below: Sequence[float]) -> Median:
    return Median.of(np.asarray(above) / np.asarray(below))


def _bars(file: Path, labels: list[str], series: dict[str, list[float]], title: str) -> None:
    figure, axes = plt.subplots(figsize=SIZE_INCHES)
    places, width = np.arange(len(labels)), 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        axes.bar(places + number * width, values, width, label=name)
    axes.set_xticks(places + width * (len(series) - 1) / 2, labels, fontsize=8)
    axes.set(title=title)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=DPI)
    plt.close(figure)
