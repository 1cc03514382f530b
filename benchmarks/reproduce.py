"""Reproduce the first experiments: rendered products, six augmentations, simulated engagement.

    python -m benchmarks reproduce --out build/reproduce --document docs/results.md

The first experiments reported how well augmentations are recognised and how well engagement is
predicted, without saying how good a prediction could be. Here the outcomes' true probabilities are
known, so each figure is printed beside its ceiling, and a figure above it would reveal a leak. The
experiment runs the commands that a user runs (render, simulate, fit) and reads their report.json.

The JSON line holds ``recognition`` (share of augmentations recognised) and ``heads`` (accuracy by
target).
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.errors import DataError
from benchmarks.common.markdown import render

# What the first experiments reported, in per cent: augmentations recognised, and the accuracies of
# their engagement models.
SEED_RECOGNITION, SEED_ENGAGEMENT = 99.5, (79, 86, 91)
CEILING = 0.80  # of accuracy
OWN_SECTIONS = ("## Rendered:", "## Real:")
COMPARED = ("accuracy", "auc", "brier", "log_loss", "fit_seconds")

Report = Mapping[str, Any]  # the content of a report.json


@dataclass(frozen=True)
class Experiment:
    """Sizes of the experiment; the defaults are those of docs/results.md."""

    kind: str = "sneaker"
    count: int = 1000
    sends: int = 10
    epochs: int = 8
    image_size: int = 64
    seed: int = 0


def run_experiment(experiment: Experiment, out: Path) -> dict[str, Any]:
    """Render, simulate and fit below ``out``; existing images and history are reused.

    Returns:
        report.json of the run.

    Raises:
        DataError: a command failed; it has printed its own message.
    """
    images, history, run = out / "images", out / "history.csv", out / "run"
    seed = ("--seed", experiment.seed)
    size = ("--image-size", experiment.image_size, "--epochs", experiment.epochs)
    product = ("--kind", experiment.kind, "--count", experiment.count)
    manifest = images / "manifest.csv"
    run_training("render", *product, "--out", images, *seed)
    run_training(
        "simulate", "--manifest", manifest, "--out", history, "--sends", experiment.sends, *seed
    )
    run_training("fit", "--manifest", history, "--images", images, "--out", run, *size, *seed)
    return read_report(run)


def read_report(run: Path) -> dict[str, Any]:
    """Read report.json of a run directory.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{run} has no report.json", got=str(error)) from error
    return report


def results_document(
    experiment: Experiment, rendered: Report, command: str, catalogue: Report | None
) -> str:
    """Return docs/results.md.

    Args:
        experiment: sizes of the experiment.
        rendered: report of its run.
        command: the command that repeats it.
        catalogue: report of a run on the example catalogue, shown beside it.
    """
    text = render(
        "results.md.j2",
        experiment=experiment,
        command=command,
        ceiling=CEILING,
        seed_recognition=SEED_RECOGNITION,
        seed_engagement=", ".join(f"{share} %" for share in SEED_ENGAGEMENT),
        engagement=_range(rendered["heads"]),
        rendered=rendered,
        rendered_comparison=_comparison(rendered["heads"]),
        catalogue=catalogue,
        catalogue_comparison=_comparison(catalogue["heads"]) if catalogue else {},
    )
    return text + "\n"


def run_training(*arguments: object) -> None:
    """Run ``python -m training``.

    Raises:
        DataError: it failed; it has printed its own message.
    """
    command = [sys.executable, "-m", "training", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise DataError(
            f"python -m training {arguments[0]} failed with exit code {done.returncode}"
        )


def _range(heads: Mapping[str, Report]) -> str:
    shares = [head["accuracy"] for head in heads.values()]
    return f"{min(shares):.1%} to {max(shares):.1%} (ceiling {CEILING:.0%})"


def _comparison(heads: Mapping[str, Report]) -> dict[str, list[float]]:
    """Means over the targets by model, in the order of COMPARED."""
    entries = [head["comparison"] for head in heads.values()]
    return {
        model: [sum(entry[model][key] for entry in entries) / len(entries) for key in COMPARED]
        for model in entries[0]
    }
