"""Metrics as lines of a job's log, and the regular expressions by which SageMaker finds them.

    [metric] validation:accuracy=0.973214

Both are defined here, so that SageMaker finds every metric that is printed.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from augrank.models.targets import TARGETS

if TYPE_CHECKING:
    from training.run.epoch import Epoch

# SageMaker keeps the last value in the log; this metric is always that of the best epoch so far.
OBJECTIVE = "validation:best_accuracy"
MAX_DEFINITIONS = 40  # of one job: SageMaker's limit
EPOCH = {
    "train:loss": "loss",
    "train:accuracy": "train_accuracy",
    "validation:accuracy": "validation_accuracy",
    "validation:loss": "validation_loss",
    "learning_rate": "learning_rate",
    "images_per_s": "samples_per_s",
    "epoch_seconds": "seconds",
    "input_share": "input_share",
}
BACKBONE = "test:accuracy"
HEAD = ("accuracy", "auc", "brier", "log_loss")
TARGET = ("accuracy", "auc")
LABEL = ("accuracy", "macro_f1", "log_loss")
RANKS = "ranks:pair_accuracy"
STAGES = ("backbone", "graphs", "embeddings", "heads")


def epoch_printer() -> Callable[["Epoch"], None]:
    """Return a function that prints an epoch's metrics and the best accuracy so far."""
    best = 0.0

    def print_epoch(epoch: "Epoch") -> None:
        nonlocal best
        best = max(best, epoch.validation_accuracy)
        for name, field in EPOCH.items():
            _print(name, getattr(epoch, field))
        _print(OBJECTIVE, best)

    return print_epoch


def print_report(report: Mapping[str, Any]) -> None:
    """Print the metrics of a finished run: each head or label, and the mean over them."""
    for stage in STAGES:
        _print(f"{stage}_seconds", report["seconds"].get(stage))
    if "labels" in report:
        labels, ranks = report["labels"].values(), report.get("ranks", {}).values()
        for measure in LABEL:
            _print(f"labels:{measure}", _mean([label[measure] for label in labels]))
        pairs = _mean([rank["pair_accuracy"] for rank in ranks])
        accuracy = _mean([label["accuracy"] for label in labels])
        _print(BACKBONE, pairs if accuracy is None else accuracy)
        _print(RANKS, pairs)
        return
    _print(BACKBONE, report["backbone"]["test_accuracy"])
    heads = report["heads"]
    for measure in HEAD:
        _print(f"heads:{measure}", _mean([head.get(measure) for head in heads.values()]))
    for target, head in heads.items():
        for measure in TARGET:
            _print(f"{target}:{measure}", head.get(measure))


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def definitions(
    targets: Sequence[str] | None = None, *, task: str = "recommend"
) -> list[dict[str, str]]:
    """Return ``{"Name", "Regex"}`` of every metric that a job prints.

    Args:
        targets: the job's targets; by default all that augrank defines. Metrics of single targets
            beyond SageMaker's limit of forty are left out; the means over heads are kept.
        task: that the job trains.
    """
    if targets is None:
        targets = [*TARGETS]
    names = list(_names_of_labels() if task == "classify" else _names(targets))
    return [
        {"Name": name, "Regex": rf"\[metric\] {re.escape(name)}=([-+.eE0-9]+)"}
        for name in names[:MAX_DEFINITIONS]
    ]


def _common_names() -> Iterator[str]:
    yield from EPOCH
    yield OBJECTIVE
    yield BACKBONE
    yield from (f"{stage}_seconds" for stage in STAGES)


def _names_of_labels() -> Iterator[str]:
    yield from _common_names()
    yield from (f"labels:{measure}" for measure in LABEL)
    yield RANKS


def _names(targets: Sequence[str]) -> Iterator[str]:
    yield from _common_names()
    yield from (f"heads:{measure}" for measure in HEAD)
    for target in targets:
        yield from (f"{target}:{measure}" for measure in TARGET)


def _print(name: str, value: float | None) -> None:
    if value is not None and math.isfinite(value):
        print(f"[metric] {name}={value:.6g}", flush=True)
