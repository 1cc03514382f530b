"""The tables of a classifier that are printed at the end, and its plots."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augrank.reporting import Reporter, Table
from training.run.plots import plot_confusion_matrix

MAX_CLASSES = 20  # of a label, in the printed table
GRAPH_FIGURES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "log_loss": "log loss",
    "pair_accuracy": "pair accuracy",
}


def print_report(report: Mapping[str, Any], reporter: Reporter) -> None:
    """Print the summary of a run."""
    for name, label in report["labels"].items():
        low, high = label["macro_f1_interval_95"]
        reporter.say(
            f"{report['backbone']['architecture']} tells {name} of {label['images']:,} test "
            f"images: macro-F1 {label['macro_f1']:.4f} ({low:.4f} to {high:.4f}), accuracy "
            f"{label['accuracy']:.2%} (majority {label['majority']:.1%}, p = "
            f"{label['p_value']:.2g}), by {label['head']}",
            style="heading",
        )
        reporter.table(_classes_table(name, label))
    for name, rank in report["ranks"].items():
        _say_rank(name, rank, report["backbone"]["architecture"], reporter)
    if report["labels"]:
        reporter.table(_labels_table(report["labels"]))
    if report["ranks"]:
        reporter.table(_ranks_table(report["ranks"]))
    if len(report["graphs"]) > 1:
        reporter.table(_graphs_table(report["graphs"]))
    for note in report["notes"]:
        reporter.say(f"Note: {note}", style="warning")


def plot_labels(folder: Path, labels: Mapping[str, Mapping[str, Any]]) -> None:
    """Plot the confusion matrix of every label: confusion-LABEL.png."""
    for (name, label), file in zip(labels.items(), _plot_files(labels), strict=True):
        title = f"{name}: {label['accuracy']:.1%} of {label['images']:,} test images, % of each row"
        classes = list(label["per_class"])
        plot_confusion_matrix(folder / file, classes, np.array(label["confusion"]), title)


def _plot_files(labels: Iterable[str]) -> list[str]:
    """Return a file for each label; those that would have the same name are numbered."""
    files: dict[str, str] = {}  # by what file systems without case take for the same
    for label in labels:
        plain = "confusion-" + re.sub(r"[^\w-]", "-", label)
        names = (plain, *(f"{plain}-{number}" for number in range(2, len(files) + 2)))
        name = next(name for name in names if name.lower() not in files)
        files[name.lower()] = f"{name}.png"
    return list(files.values())


def _classes_table(name: str, label: Mapping[str, Any]) -> Table:
    rows = [
        (
            each,
            f"{figures['images']:,}",
            _number(figures["precision"]),
            _number(figures["recall"]),
            _number(figures["f1"]),
        )
        for each, figures in list(label["per_class"].items())[:MAX_CLASSES]
    ]
    more = len(label["per_class"]) - len(rows)
    title = f"{name}, test split" + (f" ({more} more classes in report.json)" if more else "")
    return Table(title, ("class", "images", "precision", "recall", "F1"), rows)


def _labels_table(labels: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            name,
            f"{label['accuracy']:.4f}",
            f"{label['macro_f1']:.4f}",
            f"{label['log_loss']:.4f}",
            f"{label['ece']:.4f}",
            *(f"{each['covered']:.3f} ({each['size']:.2f})" for each in label["sets"].values()),
            ", ".join(f"{kind} {loss:.4f}" for kind, loss in label["candidates"].items()),
        )
        for name, label in labels.items()
    ]
    first = next(iter(labels.values()))
    sets = [f"sets of {float(coverage):.0%}: covered (classes)" for coverage in first["sets"]]
    columns = ("label", "accuracy", "macro-F1", "log loss", "ECE", *sets, "validation log loss")
    return Table("Labels on the test split", columns, rows, ("validation log loss",))


def _graphs_table(graphs: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            name,
            each["embedded_by"],
            *(_number(each.get(figure)) for figure in GRAPH_FIGURES),
            "; ".join(each["shortfalls"]) or ("" if name == "fp32" else "as good as fp32"),
        )
        for name, each in graphs.items()
    ]
    columns = ("graph", "embedded by", *GRAPH_FIGURES.values(), "judged")
    return Table("Graphs, each with its own heads, test split", columns, rows, ("judged",))


def _say_rank(name: str, rank: Mapping[str, Any], network: str, reporter: Reporter) -> None:
    low, high = rank["pair_accuracy_interval_95"]
    classes = rank["pair_accuracy_of_classes"]
    beside = "" if classes is None else f"; its classes: {classes:.2%}"
    reporter.say(
        f"{network} ranks {rank['images']:,} test images by {name}: {rank['pair_accuracy']:.2%} "
        f"({low:.2%} to {high:.2%}) of {rank['pairs']:,} pairs rightly (chance 50 %, p = "
        f"{rank['p_value']:.2g}), by {rank['head']}{beside}",
        style="heading",
    )


def _ranks_table(ranks: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            name,
            f"{rank['images']:,}",
            f"{rank['pairs']:,}",
            f"{rank['pair_accuracy']:.4f}",
            f"{rank['log_loss']:.4f}",
            ", ".join(f"{kind} {loss:.4f}" for kind, loss in rank["candidates"].items()),
        )
        for name, rank in ranks.items()
    ]
    columns = ("rank", "images", "pairs", "pair accuracy", "log loss", "validation log loss")
    return Table("Ranks on the test split", columns, rows, ("validation log loss",))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
