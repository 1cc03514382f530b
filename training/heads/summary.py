"""What report.json says of a head."""

from typing import Any

from training.heads.fit import FittedHead
from training.run.report import XGBOOST, Comparison


def head_entry(head: FittedHead, baselines: Comparison) -> dict[str, Any]:
    """Return one head's entry in report.json."""
    return {
        **head.spec.metrics,
        "direction": head.spec.target.direction,
        "inputs": list(head.spec.inputs),
        "trees": head.trees,
        "calibration": head.spec.calibration.model_dump(),
        "validation_log_loss": head.validation_log_loss,
        "comparison": comparison(head, baselines),
    }


def comparison(head: FittedHead, baselines: Comparison) -> Comparison:
    """Return the scores of the head beside those of its baselines.

    These are accuracy, AUC, Brier score, log loss and fit seconds.
    """
    scores = {name: head.spec.metrics[name] for name in ("accuracy", "auc", "brier", "log_loss")}
    return {**baselines, XGBOOST: {**scores, "fit_seconds": head.fit_seconds}}
