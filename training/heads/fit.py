"""Fit the head of a target: XGBoost on the best set of inputs, then Platt calibration.

The set of inputs (augmentation probabilities, features, context) and the number of trees (early
stopping) are selected by log loss on validation data, where Platt's curve is fitted too. Everything
that is reported comes from the test split, on which nothing is selected.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.calibration import Calibration
from augrank.models.head import Head, HeadInput, HeadSpec
from augrank.models.targets import Target
from training.common.metrics import evaluate, log_loss
from training.data.splits import Split
from training.heads.calibration import fit_calibration
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.dmatrix import Matrices, threads_for

# Simplest first: on ties the first is selected.
INPUT_SETS: tuple[tuple[HeadInput, ...], ...] = (
    ("augmentation_probs", "context"),
    ("features", "context"),
    ("augmentation_probs", "features", "context"),
)
ROUNDS, PATIENCE = 600, 25


@dataclass(frozen=True)
class FittedHead:
    """A head and the figures for its report."""

    spec: HeadSpec
    booster: xgboost.Booster
    test_probability: Float64Array  # calibrated, of the test rows
    validation_log_loss: dict[str, float]  # by inputs, before calibration
    trees: int
    fit_seconds: float  # on the selected inputs


@dataclass(frozen=True, eq=False)
class InputFit:
    """A booster fitted on one set of inputs."""

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
    """Fit, select, calibrate and test one head.

    Args:
        target: name and direction.
        parts: the target's outcomes; the training split needs both ones and zeros.
        inputs: embeddings and contexts.
        matrices: shared by all targets, which mostly have the same rows.
        seed: of row and column sampling.
        threads: number of XGBoost's threads.
    """
    validation = parts["validation"]
    fits: list[InputFit] = []
    for names in input_sets(inputs.contexts.shape[1]):
        start = time.perf_counter()
        booster = _train_booster(names, parts, inputs, matrices, seed, threads)
        seconds = time.perf_counter() - start
        margin = _margins(booster, names, validation, inputs)
        loss = log_loss(validation.label, Calibration()(margin), validation.weight)
        fits.append(InputFit(names, booster, margin, loss, seconds))
    best = select_inputs(fits, validation)
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
        validation_log_loss={"+".join(fit.inputs): fit.loss for fit in fits},
        trees=best.booster.num_boosted_rounds(),
        fit_seconds=best.seconds,
    )


def select_inputs(fits: Sequence[InputFit], validation: OutcomeRows) -> InputFit:
    """Select the simplest inputs whose loss is within one standard error of the best.

    This is the one-standard-error rule of Breiman et al. (1984), with the error of the paired
    difference in log loss over validation data. Outcomes of one original share its image, so the
    error is clustered by original (Liang and Zeger, 1986). Without this rule, richer inputs are
    selected by chance; they slow serving down without better predictions, and differ more between
    engines.
    """
    best = min(fits, key=lambda fit: fit.loss)
    losses = [_row_losses(fit.margin, validation.label) for fit in fits]
    best_loss = losses[fits.index(best)]
    for fit, loss in zip(fits, losses, strict=True):
        mean, error = _clustered_mean(loss - best_loss, validation.weight, validation.original)
        if mean <= error:
            return fit
    return best


def _clustered_mean(
    values: Float64Array, weight: Float64Array, cluster: NDArray[np.int64]
) -> tuple[float, float]:
    """Return a weighted mean and its standard error, clustered by ``cluster``."""
    mean = float(np.average(values, weights=weight))
    numbers = np.unique(cluster, return_inverse=True)[1]
    sums = np.bincount(numbers, weights=weight * (values - mean))
    correction = len(sums) / max(1, len(sums) - 1)
    return mean, math.sqrt(correction * float(sums @ sums)) / float(weight.sum())


def _row_losses(margin: NDArray[np.float32], label: Float64Array) -> Float64Array:
    """Return the log loss of every row, in nats."""
    z = margin.astype(np.float64)
    return np.asarray(np.logaddexp(0, z) - label * z, np.float64)


def input_sets(context_width: int) -> tuple[tuple[HeadInput, ...], ...]:
    """Return the sets of inputs to compare; without context columns, none has context."""
    if context_width:
        return INPUT_SETS
    return tuple(tuple(name for name in names if name != "context") for names in INPUT_SETS)


def _train_booster(
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
    best.set_param({"device": "cpu"})  # it predicts arrays in host memory
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
    """Predict calibrated probabilities with the runtime's head."""
    width = inputs.width(("augmentation_probs", "features", "context"))
    pieces = [
        head.predict(
            logits=inputs.table.logits[rows.embedding[part]],
            features=inputs.table.features[rows.embedding[part]],
            context=inputs.contexts[rows.context[part]],
        )
        for part in rows.chunks(width)
    ]
    return np.concatenate(pieces)
