"""The tables of a classifier that are printed at the end, and its plots."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augrank.reporting import Reporter, Table
from training.run.plots import plot_confusion_matrix

MAX_CLASSES = 20  # of a label, in the printed table


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
    reporter.table(_labels_table(report["labels"]))
    if len(report["graphs"]) > 1:
        reporter.table(_graphs_table(report["graphs"]))
    for note in report["notes"]:
        reporter.say(f"Note: {note}", style="warning")


def plot_labels(folder: Path, labels: Mapping[str, Mapping[str, Any]]) -> None:
    """Plot the confusion matrix of every label: confusion-LABEL.png."""
    for name, label in labels.items():
        title = f"{name}: {label['accuracy']:.1%} of {label['images']:,} test images, % of each row"
        file = "confusion-" + re.sub(r"[^A-Za-z0-9_-]", "-", name) + ".png"
        classes = list(label["per_class"])
        plot_confusion_matrix(folder / file, classes, np.array(label["confusion"]), title)


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
            f"{each['accuracy']:.4f}",
            f"{each['macro_f1']:.4f}",
            f"{each['log_loss']:.4f}",
            "; ".join(each["shortfalls"]) or ("" if name == "fp32" else "as good as fp32"),
        )
        for name, each in graphs.items()
    ]
    columns = ("graph", "embedded by", "accuracy", "macro-F1", "log loss", "judged")
    return Table("Graphs, each with its own heads, test split", columns, rows, ("judged",))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
