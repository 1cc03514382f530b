"""Metrics as lines of a job's log, and the regular expressions by which SageMaker finds them.

    [metric] validation:accuracy=0.973214

One place for both, so that every metric that is printed is found.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from augrank.models.targets import TARGETS
from training.backbone.checkpoint import Epoch

# SageMaker takes the last value that it sees; this one is the best epoch's at every moment.
OBJECTIVE = "validation:best_accuracy"
MOST = 40  # definitions of one job: SageMaker's limit
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
OF_TARGET = ("accuracy", "auc")
STAGES = ("backbone", "embeddings", "heads")


def epoch_printer() -> Callable[[Epoch], None]:
    """A function that prints an epoch's metrics, and the best so far."""
    best = 0.0

    def print_epoch(epoch: Epoch) -> None:
        nonlocal best
        best = max(best, epoch.validation_accuracy)
        for name, field in EPOCH.items():
            _print(name, getattr(epoch, field))
        _print(OBJECTIVE, best)

    return print_epoch


def print_report(report: Mapping[str, Any]) -> None:
    """Print a finished run's metrics: of the backbone, each head's, and the heads' means."""
    _print(BACKBONE, report["backbone"]["test_accuracy"])
    for stage in STAGES:
        _print(f"{stage}_seconds", report["seconds"].get(stage))
    heads = report["heads"]
    for measure in HEAD:
        values = [head[measure] for head in heads.values() if head.get(measure) is not None]
        _print(f"heads:{measure}", sum(values) / len(values) if values else None)
    for target, head in heads.items():
        for measure in OF_TARGET:
            _print(f"{target}:{measure}", head.get(measure))


def definitions(targets: Sequence[str] | None = None) -> list[dict[str, str]]:
    """``{"Name", "Regex"}`` of every metric that a job prints.

    Args:
        targets: of the job; by default those that augrank knows. Metrics of targets beyond
            SageMaker's limit of forty are left out, those of all heads are kept.
    """
    return [
        {"Name": name, "Regex": rf"\[metric\] {re.escape(name)}=([-+.eE0-9]+)"}
        for name in list(_names(targets if targets is not None else [*TARGETS]))[:MOST]
    ]


def _names(targets: Sequence[str]) -> Iterator[str]:
    yield from EPOCH
    yield OBJECTIVE
    yield BACKBONE
    yield from (f"{stage}_seconds" for stage in STAGES)
    yield from (f"heads:{measure}" for measure in HEAD)
    for target in targets:
        yield from (f"{target}:{measure}" for measure in OF_TARGET)


def _print(name: str, value: float | None) -> None:
    if value is not None and math.isfinite(value):
        print(f"[metric] {name}={value:.6g}", flush=True)
