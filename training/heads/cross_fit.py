"""XGBoost's score of every training row, from a booster that did not see the row's original.

A booster fits its own training rows better than new ones, so the mixed-effects model would trust
its score too much. Each original's rows are therefore scored by a booster of the other originals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from scipy import sparse

from augrank.arrays import Float64Array
from augrank.models.head import HeadInput
from training.heads.calibration import folds_of
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.design import project
from training.heads.dmatrix import Matrices

FOLDS = 5


@dataclass(frozen=True)
class BoosterOptions:
    """How to train a head's booster."""

    names: tuple[HeadInput, ...]
    parameters: Mapping[str, Any]
    rounds: int

    def train(self, rows: OutcomeRows, matrices: Matrices) -> xgboost.Booster:
        """Train on rows."""
        pair = matrices.get(self.names, rows, rows[np.arange(1)])
        parameters = {**self.parameters, "device": pair.device}
        booster = xgboost.train(parameters, pair.train, self.rounds)
        booster.set_param({"device": "cpu"})  # it predicts arrays in host memory
        return booster

    def margins(
        self, booster: xgboost.Booster, rows: OutcomeRows, inputs: Inputs
    ) -> NDArray[np.float32]:
        """Return a booster's log odds of rows, float32 (R,)."""
        pieces = [
            booster.inplace_predict(inputs.assemble(self.names, rows, part), predict_type="margin")
            for part in rows.chunks(inputs.width(self.names))
        ]
        return np.concatenate(pieces)


def cross_fitted_scores(
    options: BoosterOptions,
    rows: OutcomeRows,
    design: sparse.csr_array,
    inputs: Inputs,
    matrices: Matrices,
) -> Float64Array:
    """Return each row's score: the margin less what augmentation and context explain, (R,).

    Args:
        options: how to train a booster.
        rows: R outcomes.
        design: (R, D) their rows of the design matrix.
        inputs: what the rows index.
        matrices: makes XGBoost's matrices.
    """
    scores = np.empty(len(rows))
    fold = folds_of(rows.original, FOLDS, int(options.parameters["seed"]))
    for number in np.unique(fold):
        inside = fold == number
        booster = options.train(rows[~inside], matrices)
        margin = options.margins(booster, rows, inputs).astype(np.float64)
        unexplained = margin - design @ project(design, rows.weight, margin)
        scores[inside] = unexplained[inside]
    return scores
