"""The training benchmark's ratios, plots and JSON object."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.machine import machine
from benchmarks.common.plots import figure
from benchmarks.common.results import RESULTS_VERSION, Results
from benchmarks.common.resume import with_sources
from benchmarks.common.statistics import Median
from benchmarks.training.measurements import (
    BackboneMeasurement,
    CompileMeasurement,
    LoaderMeasurement,
    TrainingBenchConfig,
)
from benchmarks.training.neighbours import NeighbourMeasurement
from benchmarks.training.runs import JobMeasurement, RunMeasurement, ScalingMeasurement
from benchmarks.training.targets import ACCURACY
from training.common.device import Device

SMALL_TEXT = 8  # points
SOURCES = ("augrank", "training", "simulation", "benchmarks")
BACKBONE_RATES = ("synthetic", "real", "cold", "embed", "embed_fp32", "eager")
LOADER_RATES = ("warm", "cold", "imagefolder")


@dataclass(frozen=True)
class TrainingMeasurements:
    """All measurements of one run of the benchmark."""

    device: Device
    threads: int
    config: TrainingBenchConfig
    backbones: Sequence[BackboneMeasurement]
    inputs: Sequence[LoaderMeasurement]
    runs: RunMeasurement
    scaling: ScalingMeasurement
    neighbours: NeighbourMeasurement | None = None  # only on CPUs
    compiled: CompileMeasurement | None = None  # not in a quick run
    job: JobMeasurement | None = None  # only on GPUs


def conditions(config: TrainingBenchConfig, device: Device, threads: int) -> dict[str, Any]:
    """Return the conditions that the figures depend on, as plain data that survives JSON."""
    content = {
        "config": asdict(config),
        "engine": device.name,
        "gpu": torch.cuda.get_device_name() if device.is_cuda else None,
        "machine": machine(threads),
        "torch": torch.__version__,
    }
    return with_sources(content, SOURCES)


def result_json(measured: TrainingMeasurements, command: str) -> dict[str, Any]:
    """Return the content of results.json. ``ratios`` are of the first backbone and size."""
    runs = measured.runs
    return {
        "benchmark": "training",
        "results_version": RESULTS_VERSION,
        "command": command,
        "quick": measured.config.quick,
        "machine": machine(measured.threads),
        "gpu": torch.cuda.get_device_name() if measured.device.is_cuda else None,
        "engine": measured.device.name,
        "torch": torch.__version__,
        "images": measured.config.images,
        "epochs": measured.config.epochs,
        "ratios": {name: ratio.to_dict() for name, ratio in _ratios(measured).items()},
        ACCURACY.name: Median.of(np.subtract(runs.ours_accuracy, runs.naive_accuracy)).to_dict(),
        "backbones": [_backbone_row(each) for each in measured.backbones],
        "inputs": [{"size": each.size, **_medians(each, LOADER_RATES)} for each in measured.inputs],
        "runs": asdict(runs),
        "scaling": _scaling(measured.scaling),
        "job": measured.job and asdict(measured.job),
        "compiled": measured.compiled and _compiled(measured.compiled),
    }


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw the speed of training by backbone, of the input path, and of several processes.

    Returns:
        The files written.
    """
    backbones, inputs, scaling = results["backbones"], results["inputs"], results["scaling"]
    labels = [f"{row['backbone']}\n{row['size']} px" for row in backbones]
    one = scaling["rates"][0]["rate"]["median"]
    training, loader, processes = (
        folder / f"{name}.png" for name in ("training", "input", "scaling")
    )
    _bars(
        training,
        labels,
        _series(backbones, ("synthetic", "real", "cold")),
        "Training, images per second",
    )
    _bars(
        loader,
        [f"{row['size']} px" for row in inputs],
        _series(inputs, ("imagefolder", "cold", "warm")),
        "The input path alone, images per second",
    )
    _bars(
        processes,
        [str(row["processes"]) for row in scaling["rates"]],
        {
            "measured": [row["rate"]["median"] for row in scaling["rates"]],
            "linear": [row["processes"] * one for row in scaling["rates"]],
        },
        f"Processes, a {scaling['of']} each, images per second",
    )
    return [training, loader, processes]


def _ratios(measured: TrainingMeasurements) -> dict[str, Median]:
    first, inputs, runs = measured.backbones[0], measured.inputs[0], measured.runs
    scaling, beside = measured.scaling, measured.neighbours
    ratios = {
        "real_over_synthetic": Median.of_ratios(first.real, first.synthetic),
        "loader_cold_over_imagefolder": Median.of_ratios(inputs.cold, inputs.imagefolder),
        "loader_warm_over_imagefolder": Median.of_ratios(inputs.warm, inputs.imagefolder),
        "run_over_naive": Median.of_ratios(runs.naive_s, runs.ours_s),
        "two_processes_over_one": Median.of_ratios(scaling.rates[2], scaling.rates[1]),
        "embed_over_eager": Median.of_ratios(first.embed, first.eager),
    }
    if beside is not None:
        ratios |= beside.ratios()
    return ratios


def _backbone_row(measured: BackboneMeasurement) -> dict[str, Any]:
    return {
        "backbone": measured.backbone,
        "size": measured.size,
        **_medians(measured, BACKBONE_RATES),
        "real_over_synthetic": Median.of_ratios(measured.real, measured.synthetic).to_dict(),
        "embed_over_eager": Median.of_ratios(measured.embed, measured.eager).to_dict(),
        "waiting": round(float(np.median(measured.waiting)), 4),
        "peak_mb": round(measured.peak_mb),
        "compiled": measured.compiled,
    }


def _scaling(measured: ScalingMeasurement) -> dict[str, Any]:
    one = measured.rates[1]
    return {
        "of": measured.of,
        "rates": [
            {
                "processes": count,
                "rate": Median.of(rates, 1).to_dict(),
                "over_one": Median.of_ratios(rates, one).to_dict(),
            }
            for count, rates in measured.rates.items()
        ],
        "shared_over_one": Median.of_ratios(measured.shared, one).to_dict(),
    }


def _compiled(measured: CompileMeasurement) -> dict[str, Any]:
    ratio = Median.of_ratios(measured.compiled, measured.eager)
    return {
        "backbone": measured.backbone,
        "size": measured.size,
        "first_step_s": measured.first_step_s,
        "compiled_over_eager": ratio.to_dict(),
    }


def _medians(measured: object, names: Sequence[str]) -> dict[str, dict[str, float]]:
    return {name: Median.of(getattr(measured, name), 1).to_dict() for name in names}


def _series(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[float]]:
    return {name: [row[name]["median"] for row in rows] for name in names}


def _bars(
    file: Path, labels: Sequence[str], series: Mapping[str, Sequence[float]], title: str
) -> None:
    positions, width = np.arange(len(labels)), 0.8 / len(series)
    with figure(file) as axes:
        for number, (name, values) in enumerate(series.items()):
            axes.bar(positions + number * width, values, width, label=name)
        centres = positions + width * (len(series) - 1) / 2
        axes.set_xticks(centres, list(labels), fontsize=SMALL_TEXT)
        axes.set(title=title)
        axes.legend(fontsize=SMALL_TEXT)
