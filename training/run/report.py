"""report.json and the tables printed at the end: every score beside baseline and ceiling."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.reporting import Reporter, Table
from training.common.metrics import wilson_interval
from training.run.epoch import Epoch

MAJORITY, LOGISTIC = "majority", "logistic regression"
SKLEARN_BOOSTING, XGBOOST = "scikit-learn gradient boosting", "XGBoost"
COMPARED = (MAJORITY, LOGISTIC, SKLEARN_BOOSTING, XGBOOST)
HEAD_COLUMNS = (
    "target",
    "accuracy",
    "95 % interval",
    "majority",
    "ceiling",
    "AUC",
    "ceiling",
    "Brier",
    "ECE",
    "outcomes",
    "inputs",
)
DECISION_COLUMNS = (
    "target",
    "pairs ordered",
    "rate of picks",
    "of all",
    "regret",
    "false claims",
    "coverage (90 %)",
    "debiased ECE",
    "calibration",
)
Comparison = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class BackboneFigures:
    """How well the backbone recognises the augmentations of test originals."""

    test_accuracy: float
    interval_95: tuple[float, float]
    test_images: int
    majority: float
    per_augmentation: dict[str, float]  # recall
    confusion: tuple[tuple[int, ...], ...]  # rows: true class; columns: predicted class


def backbone_figures(
    logits: NDArray[np.float32], label: NDArray[np.int64], names: Sequence[str]
) -> BackboneFigures:
    """Compute figures from logits, float32 (N, A), and labels, int64 (N,), of the test split."""
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (label, predicted), 1)
    total = confusion.sum(axis=1)
    recall = np.diag(confusion) / np.maximum(total, 1)
    accuracy = float((predicted == label).mean())
    return BackboneFigures(
        test_accuracy=accuracy,
        interval_95=wilson_interval(accuracy, len(label)),
        test_images=len(label),
        majority=float(total.max() / total.sum()),
        per_augmentation={name: float(s) for name, s in zip(names, recall, strict=True)},
        confusion=tuple(tuple(int(v) for v in row) for row in confusion),
    )


def history_entries(history: Sequence[Epoch]) -> list[dict[str, Any]]:
    """Return epochs as plain data."""
    return [asdict(epoch) for epoch in history]


def print_report(report: Mapping[str, Any], reporter: Reporter) -> None:
    """Print the summary of a run."""
    figures = report["backbone"]
    low, high = figures["interval_95"]
    count = len(figures["per_augmentation"])
    reporter.say(
        f"{figures['architecture']} recognises {count} augmentations "
        f"on {figures['test_images']:,} test images: "
        f"{figures['test_accuracy']:.2%} ({low:.1%} to {high:.1%}; "
        f"majority {figures['majority']:.1%})",
        style="heading",
    )
    weakest = sorted(figures["per_augmentation"].items(), key=lambda item: item[1])[:3]
    if weakest and weakest[0][1] < 1:
        parts = ", ".join(f"{name} {share:.1%}" for name, share in weakest)
        reporter.say(f"Hardest to recognise: {parts}")
    if report["heads"]:
        reporter.table(_heads_table(report["heads"]))
        reporter.table(_decisions_table(report["heads"]))
        if compared := _comparison_table(report["heads"]):
            reporter.table(compared)
    if len(report["graphs"]) > 1:
        reporter.table(_graphs_table(report["graphs"]))
    for note in report["notes"]:
        reporter.say(f"Note: {note}", style="warning")


def _graphs_table(graphs: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            name,
            each["embedded_by"],
            f"{each['test_accuracy']:.2%}",
            _number(each["accuracy"]),
            "-" if each["log_loss"] is None else f"{each['log_loss']:.4f}",
            "-" if each["regret"] is None else f"{each['regret']:.4f}",
            "; ".join(each["shortfalls"]) or ("" if name == "fp32" else "as good as fp32"),
        )
        for name, each in graphs.items()
    ]
    columns = ("graph", "embedded by", "recognised", "accuracy", "log loss", "regret", "judged")
    return Table("Graphs, each with its own heads, test split", columns, rows, ("judged",))


def _heads_table(heads: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for target, head in heads.items():
        low, high = head["accuracy_interval_95"]
        ceiling = head["ceiling"] or {}
        rows.append(
            (
                target + (" LEAK?" if head.get("leak") else ""),
                f"{head['accuracy']:.3f}",
                f"{low:.3f} - {high:.3f}",
                f"{head['majority_accuracy']:.3f}",
                _number(ceiling.get("accuracy")),
                _number(head["auc"]),
                _number(ceiling.get("auc")),
                f"{head['brier']:.3f}",
                f"{head['ece']:.3f}",
                f"{head['outcomes']:,.0f}",
                "+".join(head["inputs"]),
            )
        )
    return Table("Heads on the test split", HEAD_COLUMNS, rows, left_aligned=("inputs",))


def _decisions_table(heads: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for target, head in heads.items():
        decision = head["decision"]
        low, high = head["debiased_ece_interval_90"]
        rows.append(
            (
                target,
                _number(decision["pairwise_accuracy"]),
                _number(decision["picked_rate"]),
                _number(decision["shown_rate"]),
                _number(decision["regret"]),
                _number(decision["false_claims"]),
                _number(decision["coverage"]),
                f"{head['debiased_ece']:.3f} ({low:.3f} - {high:.3f})",
                head["calibration"]["kind"],
            )
        )
    return Table(
        "Decisions within an original, test split", DECISION_COLUMNS, rows, ("calibration",)
    )


def _comparison_table(heads: Mapping[str, Mapping[str, Any]]) -> Table | None:
    entries = [head["comparison"] for head in heads.values()]
    names = [name for name in COMPARED if all(name in entry for entry in entries)]
    if len(names) < 2:
        return None
    keys = ("accuracy", "auc", "brier", "log_loss", "fit_seconds")
    rows = [
        (name, *(_number(_mean([entry[name][key] for entry in entries])) for key in keys))
        for name in names
    ]
    columns = ("model", "accuracy", "AUC", "Brier", "log loss", "fit seconds")
    return Table(f"Means over {len(entries)} targets, test split", columns, rows)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
