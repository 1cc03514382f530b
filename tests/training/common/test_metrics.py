import numpy as np
import pytest

from training.common.metrics import (
    clustered_mean,
    debiased_calibration_error,
    evaluate,
    expected_calibration_error,
    leak_z,
    majority_accuracy,
    reliability,
    scores,
    wilson_interval,
)


def test_scores_by_hand():
    label, probability = np.array([1.0, 0, 1, 0]), np.array([0.8, 0.4, 0.3, 0.1])
    result = scores(label, probability, np.ones(4))
    assert result["accuracy"] == 0.75
    assert result["auc"] == 0.75
    assert result["brier"] == pytest.approx((0.04 + 0.16 + 0.49 + 0.01) / 4)
    assert result["log_loss"] == pytest.approx(-np.mean(np.log([0.8, 0.6, 0.3, 0.9])))


def test_a_weighted_pair_scores_as_its_outcomes_one_by_one():
    weighted = scores(np.array([1.0, 0]), np.array([0.7, 0.7]), np.array([3.0, 1.0]))
    single = scores(np.array([1.0, 1, 1, 0]), np.full(4, 0.7), np.ones(4))
    assert weighted == pytest.approx(single)


def test_one_class_has_no_auc():
    assert scores(np.ones(3), np.array([0.2, 0.6, 0.9]), np.ones(3))["auc"] is None


def test_wilson_interval():
    low, high = wilson_interval(0.8, 100)
    assert (round(low, 4), round(high, 4)) == (0.7112, 0.8666)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)


def test_calibration_error_of_known_bins():
    probability = np.array([0.15, 0.15, 0.85, 0.85])
    bins = reliability(np.array([0.0, 0, 1, 0]), probability, np.ones(4))
    assert [(b.predicted, b.observed, b.weight) for b in bins] == [
        (pytest.approx(0.15), 0.0, 2.0),
        (pytest.approx(0.85), 0.5, 2.0),
    ]
    assert expected_calibration_error(bins) == pytest.approx(0.25)


def test_majority_is_that_of_training():
    label = np.array([1.0, 1, 1, 0])
    assert majority_accuracy(0.3, label, np.ones(4)) == 0.25
    assert majority_accuracy(0.6, label, np.ones(4)) == 0.75


def test_honest_predictions_are_no_leak_and_planted_ones_are():
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(3000) < 1 / 3, 0.8, 0.2)
    label = (rng.random(3000) < truth).astype(float)
    weight = np.ones(3000)
    assert abs(leak_z(label, truth, truth, weight)) < 3
    assert abs(leak_z(label, rng.random(3000), truth, weight)) < 3
    peeking = np.where(rng.random(3000) < 0.3, label, truth)
    assert leak_z(label, peeking, truth, weight) > 3
    honest = evaluate(label, truth, weight, train_share=0.4, original=np.arange(3000), truth=truth)
    assert honest["leak"] is False
    assert honest["ceiling"]["accuracy"] == honest["accuracy"]
    assert honest["ceiling"]["expected_accuracy"] == pytest.approx(0.8)
    assert honest["majority_accuracy"] == pytest.approx(0.6, abs=0.03)
    assert (
        evaluate(label, peeking, weight, train_share=0.4, original=np.arange(3000), truth=truth)[
            "leak"
        ]
        is True
    )
    unknown = evaluate(label, truth, weight, train_share=0.4, original=np.arange(3000), truth=None)
    assert unknown["ceiling"] is None
    assert "leak" not in unknown


def test_the_calibration_error_is_not_inflated_by_the_noise_of_outcomes():
    """ECE of a perfect prediction is positive; the debiased error is zero, and finds a real one."""
    rng = np.random.default_rng(0)
    truth, original = rng.uniform(0.1, 0.9, 1000), np.repeat(np.arange(100), 10)
    weight, errors, planted = np.ones(1000), [], []
    for _ in range(20):
        label = (rng.random(1000) < truth).astype(float)
        assert expected_calibration_error(reliability(label, truth, weight)) > 0.01
        error, (low, high) = debiased_calibration_error(label, truth, weight, original)
        assert 0 <= low <= high
        errors.append(error)
        shifted = np.clip(truth + 0.1, 0, 1)
        planted.append(debiased_calibration_error(label, shifted, weight, original)[0])
    assert np.median(errors) < 0.02
    assert np.median(planted) == pytest.approx(0.1, abs=0.02)


def test_the_interval_of_the_debiased_error_begins_at_zero_for_a_perfect_prediction():
    rng, away = np.random.default_rng(0), 0
    for _ in range(40):
        cluster = np.repeat(np.arange(60), 10)
        truth = rng.uniform(0.2, 0.8, 60)[cluster]
        label = (rng.random(600) < truth).astype(float)
        _, (low, _) = debiased_calibration_error(label, truth, np.ones(600), cluster)
        away += low > 0
    assert away <= 6  # 5 % are expected


def test_the_scatter_between_clusters_is_noise():
    """Each cluster has a rate of its own, around the predicted one: no error of calibration."""
    rng, errors = np.random.default_rng(0), []
    for _ in range(20):
        cluster = np.repeat(np.arange(50), 40)
        rate = np.clip(rng.normal(0.5, 0.2, 50), 0, 1)[cluster]
        label = (rng.random(2000) < rate).astype(float)
        prediction = np.full(2000, 0.5)
        errors.append(debiased_calibration_error(label, prediction, np.ones(2000), cluster)[0])
    assert np.mean(np.square(errors)) < 0.2**2 / 50  # of which all is noise


def test_outcomes_of_one_cluster_are_one_observation():
    values, cluster = np.array([1.0, 1, 3, 3]), np.array([0, 0, 1, 1])
    mean, error = clustered_mean(values, np.ones(4), cluster)
    assert (mean, error) == pytest.approx((2.0, 1.0))
    assert clustered_mean(values, np.ones(4), np.arange(4))[1] == pytest.approx(0.577, abs=0.001)
