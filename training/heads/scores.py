"""XGBoost's score of training rows: what it knows beyond augmentation and context.

A booster fits its own training rows better than new ones, so the mixed-effects model would trust
its score too much. Each original's rows are therefore scored by a booster of the other originals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.head import HeadInput
from training.heads.calibration import folds_of
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.posterior.design import Design

FOLDS = 5


@dataclass(frozen=True)
class BoosterOptions:
    """How to train a head's booster."""

    names: tuple[HeadInput, ...]
    parameters: Mapping[str, Any]
    rounds: int

    def train(
        self, training: TrainingRows, matrices: Matrices, weight: Float64Array | None = None
    ) -> xgboost.Booster:
        """Train on rows, each with its number of outcomes or another weight, (R,)."""
        pair = matrices.get(self.names, training)
        if weight is not None:
            pair.all.weigh(weight)
        parameters = {**self.parameters, "device": pair.device}
        booster = xgboost.train(parameters, pair.all.matrix, self.rounds)
        booster.set_param({"device": "cpu"})  # it predicts arrays in host memory
        return booster

    def margins(
        self, booster: xgboost.Booster, rows: OutcomeRows, inputs: Inputs
    ) -> NDArray[np.float32]:
        """Return a booster's log odds of rows, float32 (R,)."""
        distinct = rows.distinct()
        shown = rows[distinct.first]
        pieces = [
            booster.inplace_predict(inputs.assemble(self.names, shown, part), predict_type="margin")
            for part in shown.chunks(inputs.width(self.names))
        ]
        return np.concatenate(pieces)[distinct.number]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores rows: a booster's margin less what augmentation and context explain of it."""

    options: BoosterOptions
    booster: xgboost.Booster
    design: Design
    inputs: Inputs
    projection: Float64Array  # (D,), see ``Cells.project``

    @classmethod
    def of(
        cls,
        options: BoosterOptions,
        booster: xgboost.Booster,
        design: Design,
        inputs: Inputs,
        rows: OutcomeRows,
    ) -> "Scorer":
        """Project the booster's margins of rows on augmentation and context."""
        margin = options.margins(booster, rows, inputs).astype(np.float64)
        cells = design.cells(inputs.levels(rows), rows.context, inputs.contexts)
        return cls(options, booster, design, inputs, cells.project(rows.weight, margin))

    def __call__(self, rows: OutcomeRows) -> tuple[Float64Array, Float64Array]:
        """Return the score of each row's unchanged image, and of the row less that, (R,) each.

        The image's score is that of its unchanged image in the row's context; if that was not
        embedded, it is the mean over the rows of the image.
        """
        inputs, score = self.inputs, self._score(rows)
        unchanged = inputs.unchanged_rows(rows)
        known = unchanged.embedding >= 0
        image = np.unique(rows.original, return_inverse=True)[1]
        image_score = (np.bincount(image, score) / np.bincount(image))[image]
        image_score[known] = self._score(unchanged[known])
        return image_score, score - image_score

    def _score(self, rows: OutcomeRows) -> Float64Array:
        if not len(rows):
            return np.empty(0)
        inputs = self.inputs
        cells = self.design.cells(inputs.levels(rows), rows.context, inputs.contexts)
        return np.asarray(
            self.options.margins(self.booster, rows, inputs) - cells(self.projection), np.float64
        )


def cross_fitted_scores(
    options: BoosterOptions,
    training: TrainingRows,
    design: Design,
    inputs: Inputs,
    matrices: Matrices,
) -> tuple[Float64Array, Float64Array]:
    """Score each row by a booster that did not see its original; see ``Scorer``, (R,) each.

    Args:
        options: how to train a booster.
        training: R outcomes.
        design: the effects that the score leaves out.
        inputs: what the rows index.
        matrices: makes XGBoost's matrices; the folds share one by giving others no weight.
    """
    rows = training.rows
    image_score, version_score = np.empty(len(rows)), np.empty(len(rows))
    fold = folds_of(rows.original, FOLDS, int(options.parameters["seed"]))
    for number in np.unique(fold):
        inside = fold == number
        booster = options.train(training, matrices, np.where(inside, 0.0, rows.weight))
        score = Scorer.of(options, booster, design, inputs, rows)
        image_score[inside], version_score[inside] = score(rows[inside])
    return image_score, version_score
