import numpy as np
import pytest

from augrank.models.calibration import NoCalibration
from augrank.trust.estimator import _calibrated
from training.common.metrics import log_loss
from training.heads.calibration import (
    FITS,
    choose_calibration,
    fit_beta,
    fit_platt,
    fit_venn_abers,
    folds_of,
)


def outcomes(rng, truth):
    return (rng.random(len(truth)) < truth).astype(float)


def sigmoid(odds):
    return 1 / (1 + np.exp(-odds))


def test_platt_recovers_a_distorted_prediction():
    rng = np.random.default_rng(0)
    odds = rng.normal(size=20_000)
    label = outcomes(rng, sigmoid(0.5 * odds + 0.3))
    found = fit_platt(sigmoid(odds), label, np.ones(20_000))
    assert found.scale == pytest.approx(0.5, abs=0.05)
    assert found.shift == pytest.approx(0.3, abs=0.05)


def test_beta_recovers_a_curve_that_platt_cannot():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.02, 0.98, 40_000)
    truth = sigmoid(0.4 * np.log(probability) - 1.5 * np.log1p(-probability) - 0.2)
    found = fit_beta(probability, outcomes(rng, truth), np.ones(40_000))
    assert (found.a, found.b, found.shift) == pytest.approx((0.4, 1.5, -0.2), abs=0.1)


def test_venn_abers_follows_any_monotone_curve():
    rng = np.random.default_rng(0)
    probability = rng.random(5_000)
    truth = np.where(probability < 0.5, 0.2, 0.6)
    found = fit_venn_abers(probability, outcomes(rng, truth), np.ones(5_000))
    assert found(np.array([0.25, 0.75])) == pytest.approx([0.2, 0.6], abs=0.06)


@pytest.mark.parametrize("name", FITS)
def test_every_curve_keeps_the_order_on_reversed_and_separable_outcomes(name):
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    for label in ((probability < 0.5).astype(float), (probability > 0.5).astype(float)):
        curve = FITS[name](probability, label, np.ones(300))
        grid = curve(np.linspace(0.001, 0.999, 50))
        assert np.isfinite(grid).all()
        assert (np.diff(grid) >= -1e-12).all()


def test_a_distorted_prediction_is_calibrated_and_a_true_one_is_left():
    rng = np.random.default_rng(0)
    odds, original = rng.normal(size=8000) * 1.5, np.repeat(np.arange(400), 20)
    weight = np.ones(8000)
    label = outcomes(rng, sigmoid(0.5 * odds + 0.4))
    chosen, losses = choose_calibration(sigmoid(odds), label, weight, original, 0)
    assert chosen.kind in ("platt", "beta")
    assert losses[chosen.kind] < losses["none"] - 0.01
    true = outcomes(rng, sigmoid(odds))
    assert choose_calibration(sigmoid(odds), true, weight, original, 0)[0] == NoCalibration()


def test_calibration_is_never_much_worse_than_none_over_twenty_seeds():
    """On few outcomes of few originals, log loss rises by at most 0.5 %."""
    worst = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        odds = rng.normal(size=400)
        label, original = outcomes(rng, sigmoid(odds)), np.repeat(np.arange(20), 20)
        curve, _ = choose_calibration(sigmoid(odds), label, np.ones(400), original, seed)
        new = rng.normal(size=20_000)
        truth = outcomes(rng, sigmoid(new))
        plain = log_loss(truth, sigmoid(new), np.ones(20_000))
        draws = np.tile(new, (2, 1)).astype("f4")
        served = _calibrated(draws, curve).mean(axis=0)
        worst = max(worst, log_loss(truth, served, np.ones(20_000)) / plain - 1)
    assert worst <= 0.005


def test_folds_keep_an_original_together_and_are_even():
    original = np.repeat([7, 3, 11, 5, 2], [4, 1, 9, 2, 3])
    fold = folds_of(original, 5, seed=0)
    assert {len(set(fold[original == number])) for number in set(original)} == {1}
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]


def test_one_original_has_nothing_to_validate_on():
    ones = np.ones(50)
    chosen, losses = choose_calibration(0.3 * ones, ones, ones, np.zeros(50, np.int64), 0)
    assert (chosen, losses) == (NoCalibration(), {})
