"""Draws of probabilities, from head, posterior and calibration."""

from dataclasses import replace

import numpy as np
import pytest

from augrank.models.calibration import (
    BetaCalibration,
    NoCalibration,
    PlattCalibration,
    VennAbersCalibration,
)
from augrank.trust.estimator import _calibrated
from augrank.trust.posterior import ImageEffects
from augrank.trust.verdict import decide

CURVES = (
    PlattCalibration(scale=0.6, shift=-1.0),
    PlattCalibration(scale=2.0, shift=0.3),
    BetaCalibration(a=0.5, b=1.5, shift=0.2),
    VennAbersCalibration(at=(0, 0.1, 0.2, 0.9, 1), calibrated=(0.05, 0.2, 0.2, 0.7, 0.8)),
)


@pytest.fixture
def odds():
    rng = np.random.default_rng(0)
    spread = np.array([0.1, 0.5, 1.0, 2.5, 6.0])
    return (np.linspace(-3, 1, 5) + spread * rng.normal(size=(200, 5))).astype("f4")


@pytest.mark.parametrize("curve", CURVES)
def test_the_mean_of_calibrated_draws_is_the_curves(curve, odds):
    plain = _calibrated(odds, NoCalibration()).mean(axis=0)
    assert _calibrated(odds, curve).mean(axis=0) == pytest.approx(curve(plain), abs=1e-6)


def test_a_flat_piece_of_a_curve_leaves_an_interval_its_width(odds):
    flat = VennAbersCalibration(at=(0, 0.1, 0.9, 1), calibrated=(0.3, 0.3, 0.3, 0.3))
    assert _calibrated(odds, flat).std(axis=0).min() > 0.01


@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_a_steep_curve_does_not_make_an_unsure_gain_sure(scale):
    rng = np.random.default_rng(0)
    image = rng.normal(-1.4, 0.3, 2000)
    gain = rng.normal(0.15, 0.12, 2000)
    drawn = np.stack([image, image + gain], axis=1).astype("f4")
    for curve in (NoCalibration(), PlattCalibration(scale=scale, shift=0.0)):
        probability = _calibrated(drawn, curve)
        assert decide(probability[:, 1:], probability[:, 0], "maximize").kind == "unsure"


def test_an_image_of_the_catalogue_has_its_own_effect_and_correction(recommender):
    estimator = recommender._estimators["open_rate"]
    plan_rows = recommender.alternates._rows(recommender._context.encode(
        {"campaign_type": "Newsletter", "industry": "Retail"}), np.arange(3))  # fmt: skip
    score = estimator.score(plan_rows)
    unknown = ImageEffects.unknown(3)
    sharp = replace(unknown, mean=np.float32([2, 0, -2]), deviation=np.zeros(3, np.float32))
    drawn = estimator.images(plan_rows, score, sharp).mean(axis=0)
    plain = estimator.images(plan_rows, score, unknown)
    odds = [np.log(each / (1 - each)) for each in (drawn, plain.mean(axis=0))]
    assert odds[0] - odds[1] == pytest.approx([2, 0, -2], abs=0.1)
    corrected = replace(unknown, correction=np.float32([0.5, 0, 0]))
    moved = estimator.images(plan_rows, score, corrected)
    assert moved[:, 0].mean() != pytest.approx(plain[:, 0].mean(), abs=0.01)
    np.testing.assert_array_equal(moved[:, 1:], plain[:, 1:])
    first = estimator.candidates(
        type(plan_rows)(
            plan_rows.augmentation[:1],
            plan_rows.logits[:1],
            plan_rows.features[:1],
            plan_rows.context,
        ),
        unknown[:1],
    )
    np.testing.assert_allclose(first[:, 0], plain[:, 0], atol=1e-6)
