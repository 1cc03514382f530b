"""A head's entry in report.json: its scores and those of its baselines."""

from typing import TYPE_CHECKING, Any

from training.run.report import XGBOOST, Comparison

if TYPE_CHECKING:  # it imports XGBoost, which takes seconds
    from training.heads.fit import FittedHead

COMPARED_SCORES = ("accuracy", "auc", "brier", "log_loss")


def head_entry(head: "FittedHead", baselines: Comparison) -> dict[str, Any]:
    """Return the entry of a head in report.json."""
    return {
        **head.spec.metrics,
        "direction": head.spec.target.direction,
        "inputs": list(head.spec.inputs),
        "trees": head.trees,
        "calibration": head.spec.calibration.model_dump(),
        "calibration_log_loss": head.calibration_log_loss,
        "validation_log_loss": head.validation_log_loss,
        "comparison": compare_with_baselines(head, baselines),
    }


def compare_with_baselines(head: "FittedHead", baselines: Comparison) -> Comparison:
    """Return the test scores and fit seconds of the baselines and of the head."""
    scores = {name: head.spec.metrics[name] for name in COMPARED_SCORES}
    return {**baselines, XGBOOST: {**scores, "fit_seconds": head.fit_seconds}}
