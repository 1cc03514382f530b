"""Export holds the trees that servers walk against XGBoost's own model."""

import shutil

import numpy as np
import pytest
import xgboost

from augrank.errors import DataError
from augrank.models.tree_ensemble import TreeEnsemble, write_trees
from export.trees import check_trees


@pytest.fixture(params=["binary:logistic", "multi:softprob"])
def files(request, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 5)).astype(np.float32)
    label = (rows[:, 0] > 0).astype(int) + (request.param.startswith("multi") & (rows[:, 1] > 1))
    classes = {"num_class": 3} if request.param.startswith("multi") else {}
    options = {"objective": request.param, "max_depth": 4, "nthread": 1, **classes}
    booster = xgboost.train(options, xgboost.DMatrix(rows, label=label), 20)
    booster.save_model(tmp_path / "head.ubj")
    write_trees(tmp_path / "head.trees.npz", TreeEnsemble.of(booster))
    return tmp_path / "head.ubj", tmp_path / "head.trees.npz"


def test_the_same_trees_pass(files):
    check_trees(*files)


@pytest.mark.parametrize("name", ["threshold", "weight", "base_margin"])
def test_one_other_number_is_refused(files, name):
    model, trees = files
    with np.load(trees) as content:
        arrays = dict(content)
    place = 0 if name == "threshold" else np.argmax(np.abs(arrays[name]))  # the first tree's root
    arrays[name][place] += 0.5
    np.savez(trees, **arrays)
    with pytest.raises(DataError, match=r"head\.trees\.npz and head\.ubj are not the same trees"):
        check_trees(model, trees)


def test_a_model_of_another_width_is_refused(files, tmp_path):
    model, trees = files
    rows = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    other = xgboost.train(
        {"objective": "binary:logistic"}, xgboost.DMatrix(rows, label=rows[:, 0] > 0), 3
    )
    other.save_model(model)
    with pytest.raises(DataError, match="not the same trees"):
        check_trees(model, trees)


def test_a_damaged_model_is_named(files):
    model, trees = files
    shutil.copyfile(trees, model)
    with pytest.raises(DataError, match=r"head\.ubj is damaged: expected a model of XGBoost"):
        check_trees(model, trees)
