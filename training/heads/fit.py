"""Fits the head of each target: XGBoost on the inputs that serve it best, then calibrated.

Which of recognition, features and context a head eats is chosen by log loss on validation data, and
so is the number of trees. Platt's curve is fitted there too and kept only where it earns its two
parameters. Everything that is reported comes from the test split, which nothing is chosen on.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.models.calibration import Calibration
from augrank.models.head import Head, HeadInput, HeadSpec
from augrank.models.targets import Target
from training.common.metrics import evaluate, log_loss
from training.data.splits import Split
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.dmatrix import Matrices, threads_for

Floats = NDArray[np.float64]

# Simplest first: of equals the first is taken.
INPUT_SETS: tuple[tuple[HeadInput, ...], ...] = (
    ("augmentation_probs", "context"),
    ("features", "context"),
    ("augmentation_probs", "features", "context"),
)
ROUNDS, PATIENCE = 600, 25
MIN_GAIN = 2.0  # nats of log likelihood that two parameters must bring: Akaike (1974)


@dataclass(frozen=True)
class FittedHead:
    """A head with what the report says of it."""

    spec: HeadSpec
    booster: xgboost.Booster
    test_probability: NDArray[np.float64]  # calibrated, of the test rows
    validation_log_loss: dict[str, float]  # by inputs, before calibration
    trees: int
    fit_seconds: float  # of the chosen inputs


@dataclass(frozen=True, eq=False)
class Trial:
    """A fit on one set of inputs."""

    inputs: tuple[HeadInput, ...]
    booster: xgboost.Booster
    margin: NDArray[np.float32]  # of the validation rows
    loss: float
    seconds: float


def fit_head(
    target: Target,
    parts: dict[Split, OutcomeRows],
    inputs: Inputs,
    *,
    matrices: Matrices,
    seed: int,
    threads: int,
) -> FittedHead:
    """Fit, choose, calibrate and test one head.

    Args:
        target: its name and direction.
        parts: the target's outcomes; training must have ones and zeros, the others any.
        inputs: embeddings and contexts.
        matrices: shared between targets, since they mostly have the same rows.
        seed: of row and column sampling.
        threads: of XGBoost.
    """
    validation = parts["validation"]
    trials: list[Trial] = []
    for names in input_sets(inputs.contexts.shape[1]):
        start = time.perf_counter()
        booster = _boost(names, parts, inputs, matrices, seed, threads)
        seconds = time.perf_counter() - start
        margin = _margins(booster, names, validation, inputs)
        loss = log_loss(validation.label, Calibration()(margin), validation.weight)
        trials.append(Trial(names, booster, margin, loss, seconds))
    best = choose(trials, validation)
    calibration = fit_calibration(best.margin, validation.label, validation.weight)

    test = parts["test"]
    spec = HeadSpec(
        target=target,
        inputs=best.inputs,
        width=best.booster.num_features(),
        feature_step=inputs.feature_step,
        file=f"heads/{target.name}.ubj",
        calibration=calibration,
    )
    probability = _predict(Head(spec, best.booster), test, inputs)
    share = parts["train"].share_of_ones
    figures = evaluate(test.label, probability, test.weight, train_share=share, truth=test.truth)
    return FittedHead(
        spec=spec.model_copy(update={"metrics": figures}),
        booster=best.booster,
        test_probability=probability,
        validation_log_loss={"+".join(trial.inputs): trial.loss for trial in trials},
        trees=best.booster.num_boosted_rounds(),
        fit_seconds=best.seconds,
    )


def choose(trials: Sequence[Trial], validation: OutcomeRows) -> Trial:
    """The simplest inputs that do as well as the best, within one standard error.

    The error is that of the paired difference in log loss over validation data: Breiman et al.
    (1984). Outcomes of one original share its image, so the originals are what is independent
    (Liang and Zeger, 1986). Without it, richer inputs are chosen by chance, and serve slower, no
    better, and less alike on other engines.
    """
    best = min(trials, key=lambda trial: trial.loss)
    losses = [_row_losses(trial.margin, validation.label) for trial in trials]
    best_loss = losses[trials.index(best)]
    for trial, loss in zip(trials, losses, strict=True):
        mean, error = _mean_of_groups(loss - best_loss, validation.weight, validation.original)
        if mean <= error:
            return trial
    return best


def _mean_of_groups(
    values: Floats, weight: Floats, group: NDArray[np.int64]
) -> tuple[float, float]:
    """A weighted mean and its standard error, where only the groups are independent."""
    mean = float(np.average(values, weights=weight))
    numbers = np.unique(group, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=weight * (values - mean))
    correction = len(sums) / max(1, len(sums) - 1)
    return mean, math.sqrt(correction * float(sums @ sums)) / float(weight.sum())


def _row_losses(margin: NDArray[np.float32], label: NDArray[np.float64]) -> NDArray[np.float64]:
    z = margin.astype(np.float64)
    return np.asarray(np.logaddexp(0, z) - label * z, np.float64)


def input_sets(context_width: int) -> tuple[tuple[HeadInput, ...], ...]:
    """What to choose from; without context columns, the same sets without context."""
    if context_width:
        return INPUT_SETS
    return tuple(tuple(name for name in names if name != "context") for names in INPUT_SETS)


def fit_calibration(
    margin: NDArray[np.floating], label: NDArray[np.float64], weight: NDArray[np.float64]
) -> Calibration:
    """Platt's curve by maximum likelihood (Newton's method), or the identity.

    As in Platt (1999), labels are drawn in a little, (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so that
    separable data gives no infinite slope. Margins that do not vary are left alone.

    Args:
        margin: log odds, (N,).
        label: 0 or 1, (N,).
        weight: outcomes, (N,).

    Returns:
        The curve, where it raises the log likelihood by more than its two parameters would on
        noise, and keeps the order of candidates (scale > 0).
    """
    if np.ptp(margin) < 1e-6:
        return Calibration()
    ones, zeros = float(np.sum(weight * label)), float(np.sum(weight * (1 - label)))
    label = np.where(label > 0.5, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    x = np.stack([margin.astype(np.float64), np.ones(len(margin))])
    theta = np.array([1.0, 0.0])

    def loss(at: NDArray[np.float64]) -> float:
        z = at @ x
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


def _boost(
    names: tuple[HeadInput, ...],
    parts: dict[Split, OutcomeRows],
    inputs: Inputs,
    matrices: Matrices,
    seed: int,
    threads: int,
) -> xgboost.Booster:
    pair = matrices.get(names, parts["train"], parts["validation"])
    parameters = {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "device": pair.device,
        "max_depth": 4,
        "eta": 0.1,
        "min_child_weight": 4,
        "subsample": 0.8,
        "colsample_bytree": 0.8 if "features" not in names else 0.4,
        "seed": seed,
        "nthread": threads_for(len(parts["train"]), inputs.width(names), threads),
        "verbosity": 0,
    }
    booster = xgboost.train(
        parameters,
        pair.train,
        ROUNDS,
        evals=[(pair.validation, "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    best = booster[: booster.best_iteration + 1]
    best.set_param({"device": "cpu"})  # it predicts arrays of the host
    return best


def _margins(
    booster: xgboost.Booster, names: tuple[HeadInput, ...], rows: OutcomeRows, inputs: Inputs
) -> NDArray[np.float32]:
    pieces = [
        booster.inplace_predict(
            inputs.assemble(names, rows.embedding[part], rows.context[part]), predict_type="margin"
        )
        for part in rows.chunks(inputs.width(names))
    ]
    return np.concatenate(pieces)


def _predict(head: Head, rows: OutcomeRows, inputs: Inputs) -> NDArray[np.float64]:
    """Calibrated probabilities by the runtime's own head."""
    gathered = inputs.width(("augmentation_probs", "features", "context"))
    pieces = [
        head.predict(
            logits=inputs.table.logits[rows.embedding[part]],
            features=inputs.table.features[rows.embedding[part]],
            context=inputs.contexts[rows.context[part]],
        )
        for part in rows.chunks(gathered)
    ]
    return np.concatenate(pieces)
