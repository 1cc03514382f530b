"""Plots of a run, as PNG: curves, confusion matrix, reliability, comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from augrank.files import atomic_write
from training.common.metrics import ReliabilityBin
from training.run.epoch import Epoch
from training.run.report import COMPARED, BackboneFigures

DPI = 110
MAX_NAMED_CLASSES = 40  # of a confusion matrix
BLUE, ORANGE, GREY = "#2563a8", "#d97b29", "#8a8a8a"
COLORS = (GREY, "#7fb069", ORANGE, BLUE)


def plot_curves(file: Path, history: Sequence[Epoch], best: int) -> None:
    """Plot loss and accuracy by epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [epoch.number for epoch in history]
    loss.plot(epochs, [epoch.loss for epoch in history], "o-", color=BLUE, label="training", ms=3)
    loss.plot(
        epochs, [e.validation_loss for e in history], "o-", color=ORANGE, label="validation", ms=3
    )
    accuracy.plot(
        epochs, [e.train_accuracy for e in history], "o-", color=BLUE, label="training", ms=3
    )
    accuracy.plot(
        epochs,
        [e.validation_accuracy for e in history],
        "o-",
        color=ORANGE,
        label="validation",
        ms=3,
    )
    for axes, title in (
        (loss, "Cross-entropy"),
        (accuracy, "Accuracy of the network"),
    ):
        plain_axes(axes, title, "epoch", "")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axvline(best, color=GREY, lw=1, ls=":", label=f"kept: epoch {best}")
        axes.legend(frameon=False, fontsize=8)
    accuracy.set_ylim(top=1.01)
    loss.set_ylim(bottom=0)
    save_figure(figure, file)


def plot_confusion(file: Path, figures: BackboneFigures) -> None:
    """Plot how augmentations of test images are recognised."""
    title = f"{figures.test_accuracy:.1%} of {figures.test_images:,} test images, % of each row"
    plot_confusion_matrix(file, list(figures.per_augmentation), np.array(figures.confusion), title)


def plot_confusion_matrix(
    file: Path, names: Sequence[str], counts: NDArray[np.int64], title: str
) -> None:
    """Plot a confusion matrix, in percent of each row.

    Args:
        file: the PNG to write.
        names: of the classes.
        counts: (K, K), rows: true class.
        title: above it.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.55 * min(len(names), MAX_NAMED_CLASSES)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    named = len(names) <= MAX_NAMED_CLASSES
    plain: dict[str, Any] = {"parse_math": False}  # names may hold $
    if named:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", **plain)
        axes.set_yticks(range(len(names)), names, **plain)
    for row, column in np.ndindex(*shares.shape):
        if named and counts[row, column]:
            color = "white" if shares[row, column] > 0.5 else "black"
            text = f"{100 * shares[row, column]:.3g}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10, **plain)
    save_figure(figure, file)


def plot_reliability(
    file: Path, bins: Mapping[str, Sequence[ReliabilityBin]], ece: Mapping[str, float]
) -> None:
    """Plot observed share against predicted probability, one panel per head; area: outcomes."""
    columns = min(3, len(bins))
    rows = math.ceil(len(bins) / columns)
    figure = Figure(figsize=(3.1 * columns, 3.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (target, points) in zip(panels, bins.items(), strict=False):
        total = sum(point.weight for point in points)
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        axes.plot([p.predicted for p in points], [p.observed for p in points], color=BLUE, lw=1)
        areas = [12 + 200 * p.weight / total for p in points]
        axes.scatter(
            [p.predicted for p in points],
            [p.observed for p in points],
            s=areas,
            color=BLUE,
            alpha=0.7,
        )
        plain_axes(axes, f"{target}\nECE {ece[target]:.3f}", "", "")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
    for axes in panels[len(bins) :]:
        axes.set_visible(False)
    figure.supxlabel("predicted probability", fontsize=9)
    figure.supylabel("observed share", fontsize=9)
    save_figure(figure, file)


def plot_comparison(file: Path, heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Plot the test accuracy of every model by target, with the ceiling if it is known."""
    targets = list(heads)
    entries = [heads[target]["comparison"] for target in targets]
    models = [name for name in COMPARED if all(name in entry for entry in entries)]
    figure = Figure(figsize=(max(7.5, 2 + 1.1 * len(targets)), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(models)
    for index, model in enumerate(models):
        at = np.arange(len(targets)) + (index - (len(models) - 1) / 2) * width
        values = [entry[model]["accuracy"] for entry in entries]
        axes.bar(at, values, width * 0.92, label=model, color=COLORS[COMPARED.index(model)])
    ceilings = [(heads[target]["ceiling"] or {}).get("accuracy") for target in targets]
    for index, ceiling in enumerate(ceilings):
        if ceiling is not None:
            label = "ceiling" if index == 0 else "_"
            axes.hlines(ceiling, index - 0.45, index + 0.45, color="black", lw=1.2, label=label)
    lowest = min(entry[model]["accuracy"] for entry in entries for model in models)
    axes.set_ylim(max(0.0, math.floor(lowest * 10 - 0.5) / 10), 1)
    axes.set_xticks(range(len(targets)), targets, rotation=30, ha="right", fontsize=8)
    plain_axes(axes, "Accuracy on the test split", "", "")
    axes.legend(frameon=False, fontsize=8, ncols=len(models) + 1, loc="upper left")
    save_figure(figure, file)


def plain_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Set title, labels, ticks and grid in the common style."""
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: Figure, file: Path) -> None:
    """Write a PNG, atomically."""
    FigureCanvasAgg(figure)
    with atomic_write(file) as temporary:
        figure.savefig(temporary, dpi=DPI)
