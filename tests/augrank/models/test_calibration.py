import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from augrank.models.calibration import (
    BetaCalibration,
    Calibration,
    NoCalibration,
    PlattCalibration,
    VennAbersCalibration,
)


def test_platt_is_a_logistic_curve_of_the_log_odds():
    curve = PlattCalibration(scale=2.0, shift=-1.0)
    odds = np.array([0.5, 1e4])
    assert curve(1 / (1 + np.exp(-odds))) == pytest.approx([0.5, 1.0])
    assert PlattCalibration(scale=1.0, shift=0.0)(np.array([[0.2, 0.7]])) == pytest.approx(
        np.array([[0.2, 0.7]])
    )


def test_beta_with_unit_slopes_changes_nothing_and_bends_one_side():
    probability = np.array([0.01, 0.3, 0.9])
    assert BetaCalibration(a=1, b=1, shift=0)(probability) == pytest.approx(probability)
    bent = BetaCalibration(a=2, b=1, shift=0)(probability)
    assert bent[0] < 0.001
    assert bent[2] == pytest.approx(0.89, abs=0.01)


def test_venn_abers_interpolates_and_none_is_the_identity():
    curve = VennAbersCalibration(at=(0.0, 0.5, 1.0), calibrated=(0.1, 0.3, 0.9))
    assert curve(np.array([0.25, 0.5, 1.0])) == pytest.approx([0.2, 0.3, 0.9])
    assert NoCalibration()(np.array([0.25])).tolist() == [0.25]


def test_every_curve_keeps_the_order_and_returns_from_json():
    probability = np.linspace(0, 1, 101)
    adapter = TypeAdapter(Calibration)
    for curve in (
        NoCalibration(),
        PlattCalibration(scale=0.5, shift=0.3),
        BetaCalibration(a=0.5, b=2.0, shift=0.1),
        VennAbersCalibration(at=(0.0, 1.0), calibrated=(0.2, 0.6)),
    ):
        assert (np.diff(curve(probability)) >= 0).all()
        assert adapter.validate_json(adapter.dump_json(curve)) == curve
    with pytest.raises(ValidationError, match="greater than 0"):
        PlattCalibration(scale=-1.0, shift=0.0)
