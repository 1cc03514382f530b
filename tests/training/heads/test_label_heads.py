"""The head of a label: which candidate is kept, and whether what it promises is true."""

import numpy as np
import pytest

from augrank.models.label_head import LabelHead, softmax
from augrank.models.scorers import Linear
from training.data.labels import Label
from training.data.splits import TEST, TRAIN, VALIDATION
from training.heads import label_heads
from training.heads.label_heads import (
    LOGISTIC,
    NETWORK,
    XGBOOST,
    LabelRows,
    best_temperature,
    fit_label_head,
    labelled,
)

CALIBRATION, WIDTH = 3, 6
LABEL = Label("kind", ("a", "b", "c"), np.zeros(0, np.int64))
TRUE = np.random.default_rng(5).normal(0, 1.2, (3, WIDTH))


def rows(count: int, seed: int, rule) -> LabelRows:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, WIDTH)).astype(np.float32)
    label = rule(features, rng)
    logits = np.zeros((count, 3), np.float32)
    return LabelRows(features, logits, label, np.arange(count))


def linear_rule(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    odds = features @ TRUE.T
    return (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)


def round_rule(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """No line divides what is near the middle from what is not."""
    near = (features[:, :2] ** 2).sum(axis=1) < 1.4
    return np.where(near, 0, np.where(features[:, 2] > 0, 1, 2))


def parts(rule, train: int = 2000, held: int = 1000, seed: int = 0) -> dict[int, LabelRows]:
    sizes = {TRAIN: train, VALIDATION: held, TEST: held, CALIBRATION: held}
    return {split: rows(n, 10 * seed + split, rule) for split, n in sizes.items()}


def fit(given: dict[int, LabelRows], last_layer: Linear, seed: int = 0):
    return fit_label_head(
        LABEL, given, last_layer, "heads/fp32/label-0",
        calibration=CALIBRATION, seed=seed, threads=1,
    )  # fmt: skip


USELESS = Linear(np.zeros((3, WIDTH), np.float32), np.zeros(3, np.float32))
RIGHT = Linear(TRUE.astype(np.float32), np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("rule", "last_layer", "kept"),
    [
        (linear_rule, RIGHT, NETWORK),
        (linear_rule, USELESS, LOGISTIC),
        (round_rule, USELESS, XGBOOST),
    ],
)
def test_the_candidate_that_validates_best_is_kept_and_read_back(tmp_path, rule, last_layer, kept):
    given = parts(rule, train=200 if kept == NETWORK else 2000)
    fitted = fit(given, last_layer)
    assert fitted.candidate.name == kept
    assert fitted.candidates[kept] == min(fitted.candidates.values())
    assert set(fitted.candidates) == {NETWORK, LOGISTIC, XGBOOST}
    fitted.save(tmp_path)
    spec = fitted.head.spec
    assert all((tmp_path / name).is_file() for name in spec.paths)
    assert (spec.kind == "xgboost") == (kept == XGBOOST) == (spec.trees is not None)
    loaded = LabelHead.load(spec, tmp_path)
    features = given[TEST].features
    np.testing.assert_allclose(
        loaded.probabilities(features), fitted.test.probability, atol=1e-5
    )  # many rows, by XGBoost itself; a few, by our own walk over the trees
    np.testing.assert_allclose(
        loaded.probabilities(features[:5]), fitted.test.probability[:5], atol=1e-5
    )
    if kept != XGBOOST:
        truth = softmax((features @ TRUE.T).astype(np.float32), 1.0)
        assert np.abs(fitted.test.probability - truth).mean() < 0.03
    else:
        assert fitted.figures.accuracy > 0.9


def test_an_overconfident_layer_is_cooled_and_then_honest():
    hot = Linear(8 * RIGHT.weight, RIGHT.bias)
    given = parts(linear_rule)
    assert best_temperature(hot(given[VALIDATION].features), given[VALIDATION].label) == (
        pytest.approx(8, rel=0.15)
    )
    fitted = fit(given, hot)
    assert fitted.figures.ece < 0.04


def test_prediction_sets_cover_as_often_as_stated():
    """Of many calibrations; each alone may be off by chance."""
    covered, sizes = {0.8: [], 0.95: []}, []
    for seed in range(30):
        given = parts(linear_rule, train=200, held=150, seed=seed)
        fitted = fit(given, RIGHT)
        fresh = rows(1000, 5000 + seed, linear_rule)
        probability = fitted.head.probabilities(fresh.features)
        for coverage, found in covered.items():
            inside = fitted.head.sets(probability, coverage)
            found.append(inside[np.arange(1000), fresh.label].mean())
            assert inside.any(axis=1).all()
        sizes.append(fitted.entry()["sets"]["0.9"]["size"])
    for coverage, found in covered.items():
        assert coverage - 0.01 < np.mean(found) < coverage + 0.03
    assert 1 < np.mean(sizes) < 2.5  # and are of use


def test_rows_without_the_label_are_left_out():
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    found = labelled(features, features, np.array([0, -1, 1, -1, 2, 0]), np.arange(6))
    assert found.label.tolist() == [0, 1, 2, 0]
    assert found.group.tolist() == [0, 2, 4, 5]
    np.testing.assert_array_equal(found.features, features[[0, 2, 4, 5]])


def test_two_classes_have_a_linear_head_of_two():
    label = Label("flag", ("no", "yes"), np.zeros(0, np.int64))

    def rule(features, rng):
        return (features[:, 0] + rng.logistic(size=len(features)) * 0.3 > 0).astype(np.int64)

    given = {
        split: LabelRows(r.features, r.logits[:, :2], r.label, r.group)
        for split, r in parts(rule).items()
    }
    useless = Linear(np.zeros((2, WIDTH), np.float32), np.zeros(2, np.float32))
    fitted = fit_label_head(
        label, given, useless, "heads/fp32/label-1", calibration=CALIBRATION, seed=0, threads=1
    )
    assert fitted.candidate.name == LOGISTIC
    assert fitted.figures.accuracy > 0.8
    assert fitted.test.probability.shape == (1000, 2)


def test_a_rare_class_survives_the_sample(monkeypatch):
    monkeypatch.setattr(label_heads, "MAX_LOGISTIC_ROWS", 200)
    monkeypatch.setattr(label_heads, "MAX_TREE_ROWS", 200)
    monkeypatch.setattr(label_heads, "RARE", 3)

    def rule(features, rng):
        label = (features[:, 0] > 0).astype(np.int64) * 2
        label[:2] = 1  # two images of the middle class
        return label

    fitted = fit(parts(rule, train=3000), USELESS)
    assert fitted.test.probability.shape == (1000, 3)
    assert fitted.figures.per_class["a"].recall > 0.9
    assert fitted.figures.per_class["c"].recall > 0.9


def test_a_class_without_training_images_is_improbable():
    """Its weights are not those of another class."""
    given = parts(lambda features, rng: (features[:, 0] > 0).astype(np.int64) * 2)
    fitted = fit(given, USELESS)
    assert fitted.test.probability[:, 1].max() < 1e-3
    assert fitted.figures.accuracy > 0.95


def test_few_images_that_are_all_right_do_not_make_certainty():
    scores = np.array([[1.0, 0.0]] * 20, np.float32)
    temperature = best_temperature(scores, np.zeros(20, np.int64))
    assert softmax(scores, temperature)[0, 0] < 0.99
    assert softmax(scores, temperature)[0, 0] > 0.9
