"""The trees that servers walk, held against XGBoost's own model of the same head."""

from pathlib import Path

import numpy as np
import xgboost

from augrank.arrays import Float32Array
from augrank.errors import DataError
from augrank.models.tree_ensemble import TreeEnsemble, read_trees

ROWS = 256
REMEDY = "Restore it, or train and export again."
TOLERANCE = 5e-5  # log odds: sums of float32 in another order


def check_trees(model: Path, trees: Path) -> None:
    """Refuse trees that do not give what XGBoost gives, for rows on and between thresholds.

    Args:
        model: XGBoost's, .ubj.
        trees: the same as arrays, .npz.

    Raises:
        DataError: they differ, or XGBoost cannot read its model.
        BundleError: the arrays are damaged.
    """
    booster, ensemble = xgboost.Booster(), read_trees(trees)
    try:
        booster.load_model(model)
    except xgboost.core.XGBoostError as error:
        raise DataError(
            f"{model} is damaged", expected="a model of XGBoost", remedy=REMEDY
        ) from error
    booster.set_param({"device": "cpu"})
    apart = np.inf
    if (booster.num_features(), booster.num_boosted_rounds() > 0) == (ensemble.width, True):
        rows = _rows(ensemble)
        margin = booster.inplace_predict(rows, predict_type="margin").reshape(ROWS, -1)
        if margin.shape[1] == len(ensemble.base_margin):
            apart = float(np.abs(margin - ensemble.margin(rows)).max())
    if not apart <= TOLERANCE:
        raise DataError(
            f"{trees} and {model.name} are not the same trees",
            expected=f"log odds within {TOLERANCE:g}",
            got=f"{apart:g} apart",
            remedy=REMEDY,
        )


def _rows(trees: TreeEnsemble) -> Float32Array:
    """Return rows whose columns are thresholds of their own, or a little less or more."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, trees.width)).astype(np.float32)
    split = trees.children[::2] != np.arange(len(trees.feature))
    for column in np.unique(trees.feature[split]):
        thresholds = np.unique(trees.threshold[split & (trees.feature == column)])
        drawn = rng.choice(thresholds, ROWS)
        rows[:, column] = np.nextafter(drawn, drawn + rng.integers(-1, 2, ROWS))
    return rows
