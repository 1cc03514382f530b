import numpy as np
import pytest
import xgboost

from augrank.models.tree_ensemble import TreeEnsemble


def train(objective="binary:logistic", depth=4, **parameters) -> xgboost.Booster:
    rows = np.random.default_rng(0).normal(size=(400, 7)).astype(np.float32)
    label = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.3).astype(float)
    settings = {"objective": objective, "nthread": 1, **parameters}
    if parameters.get("booster") != "gblinear":
        settings["max_depth"] = depth
    return xgboost.train(settings, xgboost.DMatrix(rows, label=label), 30)


@pytest.mark.parametrize("depth", [1, 4, 9])
@pytest.mark.parametrize("base_score", [0.5, 0.02])
def test_the_forest_gives_what_xgboost_gives(depth, base_score):
    booster = train(depth=depth, base_score=base_score)
    forest = TreeEnsemble.of(booster)
    rows = np.random.default_rng(1).normal(size=(300, 7)).astype(np.float32)
    want = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_allclose(forest.margin(rows), want, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(forest.margin(rows[:1]), want[:1], rtol=1e-5, atol=2e-6)


def test_a_value_on_a_threshold_goes_the_way_xgboost_sends_it():
    booster = train()
    forest = TreeEnsemble.of(booster)
    on = np.zeros((len(forest.threshold), 7), np.float32)
    on[np.arange(len(on)), forest.feature] = forest.threshold
    want = booster.inplace_predict(on, predict_type="margin")
    np.testing.assert_allclose(forest.margin(on), want, rtol=1e-5, atol=2e-6)


def test_a_single_leaf_is_a_forest_too():
    rows = np.zeros((10, 2), np.float32)
    booster = xgboost.train(
        {"objective": "binary:logistic"}, xgboost.DMatrix(rows, label=np.arange(10) % 2), 3
    )
    forest = TreeEnsemble.of(booster)
    assert forest.depth == 0
    np.testing.assert_allclose(
        forest.margin(rows), booster.inplace_predict(rows, predict_type="margin"), atol=1e-6
    )


@pytest.mark.parametrize(
    "booster",
    [
        lambda: train("reg:squarederror"),
        lambda: train(booster="dart"),
        lambda: train(booster="gblinear"),
    ],
)
def test_unsupported_trees_are_left_to_xgboost(booster):
    assert TreeEnsemble.of(booster()) is None
