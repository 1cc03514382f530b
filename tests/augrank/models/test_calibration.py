import numpy as np
import pytest

from augrank.models.calibration import Calibration


def test_calibration_is_a_logistic_curve():
    curve = Calibration(scale=2.0, shift=-1.0)
    assert curve(np.array([0.5, 1e4])) == pytest.approx([0.5, 1.0])
    assert Calibration()(np.zeros(1))[0] == 0.5
