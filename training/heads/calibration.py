"""Platt calibration of a head: a logistic curve over its margins."""

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.calibration import Calibration

MIN_GAIN = 2.0  # nats of log likelihood that two parameters must gain: Akaike (1974)


def fit_calibration(
    margin: NDArray[np.floating], label: Float64Array, weight: Float64Array
) -> Calibration:
    """Fit Platt's curve by maximum likelihood (Newton's method), or return the identity.

    As in Platt (1999), labels are smoothed to (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that
    separable data does not give an infinite slope.

    Args:
        margin: log odds, (N,).
        label: 0 or 1, (N,).
        weight: number of outcomes, (N,).

    Returns:
        The curve, if it raises the log likelihood by more than two parameters do by chance and
        keeps the order of candidates (scale > 0); else the identity. Margins that do not vary
        keep the identity too.
    """
    if np.ptp(margin) < 1e-6:
        return Calibration()
    ones, zeros = float(np.sum(weight * label)), float(np.sum(weight * (1 - label)))
    label = np.where(label > 0.5, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    x = np.stack([margin.astype(np.float64), np.ones(len(margin))])
    theta = np.array([1.0, 0.0])

    def loss(parameters: Float64Array) -> float:
        z = parameters @ x
        return float(np.sum(weight * (np.logaddexp(0, z) - label * z)))

    for _ in range(50):
        p = np.exp(-np.logaddexp(0, -(theta @ x)))
        gradient = x @ (weight * (p - label))
        hessian = (x * (weight * p * (1 - p))) @ x.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while loss(theta - step) > loss(theta) and np.abs(step).max() > 1e-9:
            step = step / 2
        theta = theta - step
        if np.abs(step).max() < 1e-9:
            break
    gain = loss(np.array([1.0, 0.0])) - loss(theta)
    if gain <= MIN_GAIN or theta[0] <= 0:
        return Calibration()
    return Calibration(scale=float(theta[0]), shift=float(theta[1]))
