"""Choose a head's calibration by cross-validation: none, Platt, beta or Venn-Abers.

The curves are fitted to predictions of validation originals and compared by log loss on originals
that they were not fitted to. A curve is used only if it beats no curve by two standard errors: on
few outcomes a curve does more harm than good.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from augrank.arrays import Float64Array
from augrank.models.calibration import (
    EPSILON,
    BetaCalibration,
    Calibration,
    NoCalibration,
    PlattCalibration,
    VennAbersCalibration,
    log_odds,
)
from training.common.metrics import clustered_mean, row_log_losses

FOLDS = 5
KNOTS = 20  # of the Venn-Abers curve
MAX_SLOPE = 1e3
MIN_ERRORS = 2.0  # standard errors by which a curve must beat none
Fit = Callable[[Float64Array, Float64Array, Float64Array], Calibration]


def choose_calibration(
    probability: Float64Array,
    label: Float64Array,
    weight: Float64Array,
    original: NDArray[np.int64],
    seed: int,
) -> tuple[Calibration, dict[str, float]]:
    """Choose and fit a curve.

    Args:
        probability: predicted, of outcomes that the prediction was not fitted to, (N,).
        label: 0 or 1, (N,).
        weight: number of outcomes, (N,).
        original: original of each outcome, (N,): those of one are in one fold.
        seed: of the folds.

    Returns:
        The curve, and the cross-validated log loss of each. With one original there is nothing to
        validate on: no curve, and no losses.
    """
    if len(np.unique(original)) < 2:
        return NoCalibration(), {}
    losses = {
        name: _cross_validated(fit, probability, label, weight, folds_of(original, FOLDS, seed))
        for name, fit in FITS.items()
    }
    means = {name: float(np.average(loss, weights=weight)) for name, loss in losses.items()}
    best = min(means, key=lambda name: means[name])
    gain, error = clustered_mean(losses["none"] - losses[best], weight, original)
    chosen = best if gain > MIN_ERRORS * error else "none"
    return FITS[chosen](probability, label, weight), means


def folds_of(original: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Assign each row to one of ``folds`` folds of about equal size, by its original, (N,)."""
    numbers, row = np.unique(original, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(numbers))
    return np.asarray(shuffled[row] % folds)


def fit_platt(
    probability: Float64Array, label: Float64Array, weight: Float64Array
) -> PlattCalibration:
    """Fit Platt's curve by maximum likelihood.

    As in Platt (1999), labels are smoothed to (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that
    separable data does not give an infinite slope.
    """
    scale, shift = _fit_logistic(log_odds(probability)[:, None], label, weight, least_slope=1e-3)
    return PlattCalibration(scale=float(scale), shift=float(shift))


def fit_beta(
    probability: Float64Array, label: Float64Array, weight: Float64Array
) -> BetaCalibration:
    """Fit the beta curve by maximum likelihood, with smoothed labels."""
    inside = np.clip(probability, EPSILON, 1 - EPSILON)
    features = np.stack([np.log(inside), -np.log1p(-inside)], axis=1)
    a, b, shift = _fit_logistic(features, label, weight, least_slope=0.0)
    return BetaCalibration(a=float(a), b=float(b), shift=float(shift))


def fit_venn_abers(
    probability: Float64Array, label: Float64Array, weight: Float64Array
) -> VennAbersCalibration:
    """Fit the inductive Venn-Abers predictor at quantiles of the predictions."""
    knots = np.unique(np.quantile(probability, np.linspace(0, 1, KNOTS)))
    at = np.unique(np.concatenate([[0.0], knots, [1.0]]))
    kept = weight > 0
    values, row = np.unique(probability[kept], return_inverse=True)
    trials = np.bincount(row, weight[kept]).astype(np.float64)
    successes = np.bincount(row, (weight * label)[kept])

    def fitted(knot: float, outcome: float) -> float:
        """Return the isotonic regression at a knot that has one more outcome."""
        place = int(np.searchsorted(values, knot))
        ones, total = successes, trials
        if place == len(values) or values[place] != knot:
            ones, total = np.insert(ones, place, 0.0), np.insert(total, place, 0.0)
        more = np.arange(len(total)) == place
        ones, total = ones + outcome * more, total + more
        return float(isotonic_regression(ones / total, weights=total).x[place])

    zero, one = (np.array([fitted(knot, outcome) for knot in at]) for outcome in (0.0, 1.0))
    calibrated = np.maximum.accumulate(one / (1 - zero + one))
    return VennAbersCalibration(at=tuple(at.tolist()), calibrated=tuple(calibrated.tolist()))


def _none(_: Float64Array, __: Float64Array, ___: Float64Array) -> NoCalibration:
    return NoCalibration()


FITS: dict[str, Fit] = {
    "none": _none,
    "platt": fit_platt,
    "beta": fit_beta,
    "venn_abers": fit_venn_abers,
}


def _cross_validated(
    fit: Fit,
    probability: Float64Array,
    label: Float64Array,
    weight: Float64Array,
    fold: NDArray[np.int64],
) -> Float64Array:
    """Return the log loss of each row under the curve of the other folds, (N,)."""
    losses = np.empty(len(label))
    for number in np.unique(fold):
        inside = fold == number
        rest = ~inside
        calibration = fit(probability[rest], label[rest], weight[rest])
        losses[inside] = row_log_losses(label[inside], calibration(probability[inside]))
    return losses


def _fit_logistic(
    features: Float64Array, label: Float64Array, weight: Float64Array, *, least_slope: float
) -> Float64Array:
    """Return the slopes and the intercept of a logistic regression with positive slopes."""
    ones, zeros = float(weight @ label), float(weight @ (1 - label))
    smoothed = np.where(label > 0.5, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    design = np.column_stack([features, np.ones(len(features))])

    def loss(theta: Float64Array) -> tuple[float, Float64Array]:
        odds = design @ theta
        residual = weight * (expit(odds) - smoothed)
        value = float(weight @ (np.logaddexp(0, odds) - smoothed * odds))
        return value / weight.sum(), design.T @ residual / weight.sum()

    start = np.append(np.ones(features.shape[1]), 0.0)
    bounds = [(least_slope, MAX_SLOPE)] * features.shape[1] + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, np.float64)
