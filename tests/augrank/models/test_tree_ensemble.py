import numpy as np
import pytest
import xgboost

from augrank.errors import BundleError
from augrank.models.tree_ensemble import TreeEnsemble, read_trees, write_trees

WIDTH = 7


def train(objective="binary:logistic", depth=4, **parameters) -> xgboost.Booster:
    rows = np.random.default_rng(0).normal(size=(400, WIDTH)).astype(np.float32)
    label = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0.3).astype(float)
    if objective.startswith("multi"):
        label += rows[:, 3] > 0.5
        parameters["num_class"] = 3
    settings = {"objective": objective, "nthread": 1, **parameters}
    if parameters.get("booster") != "gblinear":
        settings["max_depth"] = depth
    matrix = xgboost.DMatrix(rows, label=label)
    if objective.startswith("rank"):
        matrix.set_group([20] * 20)
    return xgboost.train(settings, matrix, 30)


def margins(booster, rows):
    return booster.inplace_predict(rows, predict_type="margin").reshape(len(rows), -1)


@pytest.mark.parametrize("depth", [1, 4, 9])
@pytest.mark.parametrize("base_score", [0.5, 0.02])
@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "rank:pairwise"])
def test_the_forest_gives_what_xgboost_gives(objective, depth, base_score, monkeypatch):
    booster = train(objective, depth, base_score=base_score)
    forest = TreeEnsemble.of(booster)
    rows = np.random.default_rng(1).normal(size=(300, WIDTH)).astype(np.float32)
    want = margins(booster, rows)
    np.testing.assert_allclose(forest.margin(rows), want, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(forest.margin(rows[:1]), want[:1], rtol=1e-5, atol=2e-6)
    assert forest.margin(rows[:0]).shape == (0, want.shape[1])
    monkeypatch.setattr("augrank.models.tree_ensemble.MOST_NODES", 7 * len(forest.roots))
    np.testing.assert_allclose(forest.margin(rows), want, rtol=1e-5, atol=2e-6)


def test_a_value_on_a_threshold_goes_the_way_xgboost_sends_it():
    booster = train()
    forest = TreeEnsemble.of(booster)
    on = np.zeros((len(forest.threshold), WIDTH), np.float32)
    on[np.arange(len(on)), forest.feature] = forest.threshold
    np.testing.assert_allclose(forest.margin(on), margins(booster, on), rtol=1e-5, atol=2e-6)


def test_a_single_leaf_is_a_forest_too():
    rows = np.zeros((10, 2), np.float32)
    booster = xgboost.train(
        {"objective": "binary:logistic"}, xgboost.DMatrix(rows, label=np.arange(10) % 2), 3
    )
    forest = TreeEnsemble.of(booster)
    assert forest.depth == 0
    np.testing.assert_allclose(forest.margin(rows), margins(booster, rows), atol=1e-6)


@pytest.mark.parametrize(
    "booster",
    [
        lambda: train("reg:squarederror"),
        lambda: train(booster="dart"),
        lambda: train(booster="gblinear"),
    ],
)
def test_other_models_are_refused(booster):
    with pytest.raises(ValueError, match="not plain trees"):
        TreeEnsemble.of(booster())


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match="trees of 7 columns, rows of 6"):
        TreeEnsemble.of(train()).margin(np.zeros((2, WIDTH - 1), np.float32))


def test_a_file_gives_the_same_trees(tmp_path):
    forest = TreeEnsemble.of(train("multi:softprob"))
    write_trees(tmp_path / "deep" / "trees.npz", forest)
    again = read_trees(tmp_path / "deep" / "trees.npz")
    rows = np.random.default_rng(2).normal(size=(50, WIDTH)).astype(np.float32)
    assert (again.margin(rows) == forest.margin(rows)).all()
    assert again.depth == forest.depth > 0


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("roots", 0, 10**6),
        ("roots", 0, -1),
        ("output", 0, 1),
        ("feature", 0, WIDTH),
        ("feature", 0, -1),
        ("children", 0, 0),  # its own parent: a walk that never ends
        ("children", -1, 0),
        ("children", 1, 10**6),
        ("width", (), 1),
    ],
)
def test_arrays_that_are_no_trees_are_refused(tmp_path, name, index, value):
    arrays = {key: each.copy() for key, each in TreeEnsemble.of(train()).arrays().items()}
    arrays[name][index] = value
    np.savez(tmp_path / "trees.npz", **arrays)
    with pytest.raises(BundleError, match=r"trees\.npz is damaged: expected the trees of a head"):
        read_trees(tmp_path / "trees.npz")


@pytest.mark.parametrize("name", ["roots", "children", "threshold", "base_margin"])
def test_arrays_of_another_shape_or_kind_are_refused(tmp_path, name):
    whole = TreeEnsemble.of(train()).arrays()
    for wrong in (whole[name][:-1], whole[name][None], np.array([object()], object)):
        np.savez(tmp_path / "trees.npz", **{**whole, name: wrong})
        with pytest.raises(BundleError, match="damaged"):
            read_trees(tmp_path / "trees.npz")
    np.savez(tmp_path / "trees.npz", **{key: whole[key] for key in whole if key != name})
    with pytest.raises(BundleError, match=f"damaged.*{name}"):
        read_trees(tmp_path / "trees.npz")
