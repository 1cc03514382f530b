"""Fit the head of a target: XGBoost on the best set of inputs, then its posterior.

The set of inputs (the applied augmentation, its recognised probabilities, features, context) and
the number of trees (early stopping) are selected by log loss on validation data. XGBoost and the
posterior are then fitted to training and validation data together; the calibration is chosen on
validation originals that its prediction was not fitted to. Everything that is reported comes from
the test split, on which nothing is selected.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.models.calibration import Calibration
from augrank.models.head import Head, HeadInput, HeadSpec
from augrank.models.targets import Target
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import Posterior
from training.common.metrics import clustered_mean, evaluate, log_loss
from training.data.splits import Split
from training.heads.calibration import choose_calibration
from training.heads.cross_fit import BoosterOptions, cross_fitted_scores
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.decision import decision_metrics
from training.heads.design import Design, History, project
from training.heads.dmatrix import Matrices, threads_for
from training.heads.mixed_effects import fit_effects

# Simplest first: on ties the first is selected.
INPUT_SETS: tuple[tuple[HeadInput, ...], ...] = (
    ("augmentation_probs", "context"),
    ("features", "context"),
    ("augmentation_probs", "features", "context"),
)
KNOWN_INPUT_SETS: tuple[tuple[HeadInput, ...], ...] = (
    ("augmentation", "context"),
    ("augmentation_probs", "context"),
    ("augmentation", "features", "context"),
    ("augmentation", "augmentation_probs", "features", "context"),
)
ROUNDS, PATIENCE = 600, 25


@dataclass(frozen=True)
class FittedHead:
    """A head and the figures for its report."""

    spec: HeadSpec
    booster: xgboost.Booster
    posterior: Posterior
    test_probability: Float64Array  # calibrated, of the test rows
    validation_log_loss: dict[str, float]  # by inputs, of XGBoost alone
    calibration_log_loss: dict[str, float]  # by calibration, cross-validated
    trees: int
    fit_seconds: float  # on the selected inputs, with the posterior


@dataclass(frozen=True, eq=False)
class InputFit:
    """A booster fitted on one set of inputs."""

    options: BoosterOptions
    margin: NDArray[np.float32]  # of the validation rows
    loss: float

    @property
    def inputs(self) -> tuple[HeadInput, ...]:
        """The set of inputs."""
        return self.options.names


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
    fits = [
        _fit_inputs(
            names, parts, inputs, matrices, _parameters(names, parts, inputs, seed, threads)
        )
        for names in input_sets(inputs)
    ]
    options = select_inputs(fits, validation).options
    start = time.perf_counter()
    trusted = _fit_posterior(options, parts, inputs, matrices, seed)
    seconds = time.perf_counter() - start

    test = parts["test"]
    spec = HeadSpec(
        target=target,
        inputs=options.names,
        width=trusted.booster.num_features(),
        feature_step=inputs.feature_step,
        file=f"heads/{target.name}.ubj",
        posterior=f"heads/{target.name}.npz",
        augmentation_known=inputs.augmentation_known,
        calibration=trusted.calibration,
    )
    draws = _predict(Estimator(Head(spec, trusted.booster), trusted.posterior), test, inputs)
    probability = draws.mean(axis=0)
    share = parts["train"].share_of_ones
    figures = evaluate(
        test.label,
        probability,
        test.weight,
        train_share=share,
        original=test.original,
        truth=test.truth,
    )
    figures["decision"] = decision_metrics(draws, test, target.direction, seed)
    return FittedHead(
        spec=spec.model_copy(update={"metrics": figures}),
        booster=trusted.booster,
        posterior=trusted.posterior,
        test_probability=probability,
        validation_log_loss={"+".join(fit.inputs): fit.loss for fit in fits},
        calibration_log_loss=trusted.calibration_log_loss,
        trees=trusted.booster.num_boosted_rounds(),
        fit_seconds=seconds,
    )


@dataclass(frozen=True, eq=False)
class _Trusted:
    """A booster of all training data with its posterior and calibration."""

    booster: xgboost.Booster
    posterior: Posterior
    calibration: Calibration
    calibration_log_loss: dict[str, float]


def _fit_posterior(
    options: BoosterOptions,
    parts: dict[Split, OutcomeRows],
    inputs: Inputs,
    matrices: Matrices,
    seed: int,
) -> _Trusted:
    """Fit the posterior to cross-fitted scores, and the calibration to held-out predictions."""
    train, rng = parts["train"], np.random.default_rng(seed)
    rows = train.joined(parts["validation"])
    design = Design.of(
        inputs.augmentations,
        inputs.columns,
        inputs.contexts,
        versions=not inputs.augmentation_known,
    )
    matrix = design.matrix(inputs.levels(rows), inputs.contexts[rows.context])
    history = History(
        rows.embedding,
        inputs.levels(rows),
        rows.context,
        rows.original,
        cross_fitted_scores(options, rows, matrix, inputs, matrices),
        rows.label,
        rows.weight,
    )
    held_out = np.arange(len(rows)) >= len(train)
    calibration, losses = _calibrate(design, inputs, history, held_out, seed)
    booster = options.train(rows, matrices)
    margin = options.margins(booster, rows, inputs).astype(np.float64)
    projection = project(matrix, rows.weight, margin)
    fitted = fit_effects(design, inputs.contexts, history, rng)
    return _Trusted(booster, fitted.posterior(projection, inputs.catalogue), calibration, losses)


def _calibrate(
    design: Design, inputs: Inputs, history: History, held_out: NDArray[np.bool_], seed: int
) -> tuple[Calibration, dict[str, float]]:
    """Choose the calibration on validation rows, which this posterior was not fitted to."""
    rng = np.random.default_rng(seed)
    fitted = fit_effects(design, inputs.contexts, history[~held_out], rng)
    rest = history[held_out]
    probability = fitted.predict(inputs.contexts, rest).mean(axis=0)
    return choose_calibration(probability, rest.label, rest.weight, rest.image, seed)


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
        mean, error = clustered_mean(loss - best_loss, validation.weight, validation.original)
        if mean <= error:
            return fit
    return best


def _row_losses(margin: NDArray[np.float32], label: Float64Array) -> Float64Array:
    """Return the log loss of every row, in nats."""
    z = margin.astype(np.float64)
    return np.asarray(np.logaddexp(0, z) - label * z, np.float64)


def input_sets(inputs: Inputs) -> tuple[tuple[HeadInput, ...], ...]:
    """Return the sets of inputs to compare; without context columns, none has context."""
    sets = KNOWN_INPUT_SETS if inputs.augmentation_known else INPUT_SETS
    if inputs.contexts.shape[1]:
        return sets
    return tuple(tuple(name for name in names if name != "context") for names in sets)


def _parameters(
    names: tuple[HeadInput, ...],
    parts: dict[Split, OutcomeRows],
    inputs: Inputs,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    train = parts["train"]
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "max_depth": 4,
        "eta": 0.1,
        "min_child_weight": 4,
        "subsample": 0.8,
        "colsample_bytree": 0.8 if "features" not in names else 0.4,
        "base_score": train.share_of_ones,  # a fold may have outcomes of one kind only
        "seed": seed,
        "nthread": threads_for(len(train), inputs.width(names), threads),
        "verbosity": 0,
    }


def _fit_inputs(
    names: tuple[HeadInput, ...],
    parts: dict[Split, OutcomeRows],
    inputs: Inputs,
    matrices: Matrices,
    parameters: dict[str, Any],
) -> InputFit:
    """Fit a booster of the training split, stopped early on the validation split."""
    validation = parts["validation"]
    pair = matrices.get(names, parts["train"], validation)
    booster = xgboost.train(
        {**parameters, "device": pair.device},
        pair.train,
        ROUNDS,
        evals=[(pair.validation, "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    best = booster[: booster.best_iteration + 1]
    best.set_param({"device": "cpu"})  # it predicts arrays in host memory
    options = BoosterOptions(names, parameters, best.num_boosted_rounds())
    margin = options.margins(best, validation, inputs)
    probability = 1 / (1 + np.exp(-margin.astype(np.float64)))
    return InputFit(options, margin, log_loss(validation.label, probability, validation.weight))


def _predict(estimator: Estimator, rows: OutcomeRows, inputs: Inputs) -> Float64Array:
    """Predict rows as a server does, float64 (M, R); an image's score is that of its rows."""
    image = np.unique(rows.original, return_inverse=True)[1]
    width = inputs.width(("augmentation_probs", "features", "context")) + estimator.draws
    parts = list(rows.chunks(width))
    score = np.concatenate([estimator.score(inputs.rows(rows, part)) for part in parts])
    scores = (np.bincount(image, score) / np.bincount(image)).astype(np.float32)
    return np.concatenate(
        [
            estimator.shown(inputs.rows(rows, part), image[part], rows.embedding[part], scores)
            for part in parts
        ],
        axis=1,
    )
