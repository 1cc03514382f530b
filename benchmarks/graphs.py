"""What int8 costs: each graph with heads of its own, on outcomes that the image decides.

    python -m benchmarks graphs --out build/graphs --document docs/results.md

Outcomes depend on the augmentation, on the campaign's type, and on whether the product is dark, so
heads need the features of the image. The experiment runs the commands that a user runs (render,
fit) for each backbone, and reads report.json, in which int8 is compared with fp32 on the same test
rows.

The JSON line holds ``backbones``: figures by backbone and graph.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrank.images.augmentations import augmentation_set
from augrank.images.decode import decode
from benchmarks.common.markdown import render
from benchmarks.common.results import RESULTS_VERSION, Results
from benchmarks.reproduce import read_report, run_training
from simulation.engagement import CAMPAIGN_TYPES, winners

HEADING = "## Graphs: int8 against fp32, each with its own heads"
TARGET = "click_through"
LOW, DARK, CHANGED, CAMPAIGN = 0.15, 0.3, 0.3, 0.1  # probability, and what adds to it
BRIGHTNESS_PX = 32


@dataclass(frozen=True)
class Experiment:
    """Sizes of the experiment; the defaults are those of docs/results.md."""

    backbones: tuple[str, ...] = ("resnet18", "resnet50")
    count: int = 1500
    sends: int = 6
    epochs: int = 6
    image_size: int = 96
    seed: int = 0


def measure_graphs(experiment: Experiment, out: Path, command: str) -> dict[str, Any]:
    """Render, simulate and fit below ``out``; finished parts are reused.

    Returns:
        The contents of results.json.

    Raises:
        DataError: a command failed; it has printed its own message.
    """
    images = out / "images"
    product = ("--kind", "sneaker", "--count", experiment.count, "--seed", experiment.seed)
    run_training("render", *product, "--out", images)
    history = out / "history.csv"
    write_history(images, history, experiment)
    rows = {}
    for backbone in experiment.backbones:
        run = out / backbone
        size = ("--image-size", experiment.image_size, "--epochs", experiment.epochs)
        options = ("--backbone", backbone, *size, "--seed", experiment.seed, "--no-baselines")
        run_training("fit", "--manifest", history, "--images", images, "--out", run, *options)
        report = read_report(run)
        rows[backbone] = {
            "graph": report["graph"],
            "inputs": report["heads"][TARGET]["inputs"],
            "graphs": report["graphs"],
        }
    return {
        "benchmark": "graphs",
        "results_version": RESULTS_VERSION,
        "command": command,
        "images": experiment.count,
        "rows": experiment.count * experiment.sends * len(augmentation_set("seed").names),
        "image_size": experiment.image_size,
        "epochs": experiment.epochs,
        "backbones": rows,
    }


def write_history(images: Path, file: Path, experiment: Experiment) -> None:
    """Simulate outcomes of every candidate, with their true probabilities.

    Args:
        images: folder of rendered images, with its manifest.
        file: the history to write.
        experiment: sizes and seed.
    """
    with (images / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        paths = [row["relative_im_path"] for row in csv.DictReader(stream)]
    pixels = [decode((images / path).read_bytes(), BRIGHTNESS_PX).pixels for path in paths]
    brightness = np.array([each.mean() for each in pixels])
    dark = brightness < np.median(brightness)
    names, rng = augmentation_set("seed").names, np.random.default_rng(experiment.seed)
    changed = winners(names)
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        columns = ("relative_im_path", "augmentation", "campaign_type")
        writer.writerow([*columns, TARGET, f"{TARGET}_probability"])
        for path, is_dark in zip(paths, dark.tolist(), strict=True):
            for name in names:
                for campaign in rng.integers(len(CAMPAIGN_TYPES), size=experiment.sends).tolist():
                    probability = (
                        LOW
                        + DARK * is_dark
                        + CHANGED * (name in changed)
                        + CAMPAIGN * (campaign % 2)
                    )
                    outcome = int(rng.random() < probability)
                    kind = CAMPAIGN_TYPES[campaign]
                    writer.writerow([path, name, kind, outcome, round(probability, 6)])


def graphs_section(results: Results) -> str:
    """Render the results as a section of docs/results.md."""
    return render("graphs.md.j2", results, heading=HEADING)
