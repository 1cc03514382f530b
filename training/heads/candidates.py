"""The candidates for the head of a label or of a rank, and how the chosen one is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augrank.files import atomic_write
from augrank.models.scorers import Linear, Scorer, Trees
from augrank.models.tree_ensemble import write_trees

if TYPE_CHECKING:
    import xgboost

NETWORK, LOGISTIC, XGBOOST = "last layer", "logistic regression", "XGBoost"
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression, on standardised features
TREE_OPTIONS = {
    "max_depth": 4,
    "eta": 0.1,
    "subsample": 0.8,
    "lambda": 2.0,
    "tree_method": "hist",
}
TREE_COLUMNS = 150  # features, drawn for each tree
MAX_ROUNDS, PATIENCE = 200, 10
MAX_TREE_ROWS = 20_000
FEATURE_STEPS = 50  # per standard deviation, that trees round features to


@dataclass(frozen=True)
class Candidate:
    """A way to score features."""

    name: str
    scorer: Scorer
    validation_loss: float  # at its best temperature or scale
    booster: "xgboost.Booster | None" = None  # of trees

    def save(self, root: Path, paths: tuple[str, ...], calibration: Mapping[str, Any]) -> None:
        """Write the files of a head below a run.

        Args:
            root: the run.
            paths: of the arrays, and if there are trees, of these and of XGBoost's model.
            calibration: arrays that were fitted to the calibration split.
        """
        arrays = dict(calibration)
        if isinstance(self.scorer, Linear):
            arrays |= {"weight": self.scorer.weight, "bias": self.scorer.bias}
        if isinstance(self.scorer, Trees):
            arrays["step"] = np.float64(self.scorer.step)
            write_trees(root / paths[1], self.scorer.ensemble)
        with atomic_write(root / paths[0]) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)
        if self.booster is not None:
            with atomic_write(root / paths[2]) as temporary:
                temporary.write_bytes(self.booster.save_raw("ubj"))
