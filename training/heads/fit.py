"""Fit the head of a target: XGBoost on the best set of inputs, then its posterior.

The set of inputs (the applied augmentation, its recognised probabilities, features, context) and
the number of trees (early stopping) are selected by log loss on validation data; in long histories,
the set is selected on a draw of the shown images. XGBoost and the posterior are then fitted to
training and validation data together; the calibration is chosen on validation originals that its
prediction was not fitted to. Everything that is reported comes from the test split, on which
nothing is selected but the graph that serves. Last, the posterior is fitted to all outcomes, those
of the test split too, and takes the place of the tested one.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.files import atomic_write
from augrank.models.calibration import Calibration
from augrank.models.head import Head, HeadInput, HeadSpec
from augrank.models.targets import Target
from augrank.models.tree_ensemble import TreeEnsemble, write_trees
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import Posterior
from training.common.metrics import clustered_mean, evaluate, log_loss
from training.data.splits import Split
from training.heads.calibration import choose_calibration
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows
from training.heads.decision import decision_metrics, judged_rows
from training.heads.dmatrix import Matrices, threads_for
from training.heads.posterior.design import Design, History
from training.heads.posterior.mixed_effects import DRAWS_OF_MEAN, fit_effects
from training.heads.posterior.version_mean import ImageMeans
from training.heads.scores import BoosterOptions, Scorer, cross_fitted_scores

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
MOST_TO_COMPARE = 40_000  # shown images; more change a choice between few sets of inputs little
DRAWN_ARRAYS = 8  # float64 (draws, rows), at once where probabilities are drawn


@dataclass(frozen=True)
class FittedHead:
    """A head and the figures for its report."""

    spec: HeadSpec
    booster: xgboost.Booster
    posterior: Posterior  # of all outcomes
    tested_posterior: Posterior  # of training and validation; the metrics are of this one
    test_probability: Float64Array  # calibrated, of the test rows
    validation_log_loss: dict[str, float]  # by inputs, of XGBoost alone, of the images compared
    calibration_log_loss: dict[str, float]  # by calibration, cross-validated
    trees: int
    fit_seconds: float  # on the selected inputs, with the posteriors
    left_out: tuple[str, ...]  # columns with effects that XGBoost alone may learn

    def save(self, root: Path) -> None:
        """Write its files below a run."""
        spec = self.spec
        with atomic_write(root / spec.file) as temporary:
            # Not XGBoost's own writer, which does not report a full disk.
            temporary.write_bytes(self.booster.save_raw("ubj"))
        write_trees(root / spec.trees, TreeEnsemble.of(self.booster))
        for file, posterior in (
            (spec.posterior, self.posterior),
            (spec.tested_posterior, self.tested_posterior),
        ):
            with atomic_write(root / file) as temporary:
                posterior.save(temporary)


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
    training, known = TrainingRows.of(parts), inputs.selected.get(target.name)
    compared = training if known else training.draw(MOST_TO_COMPARE, seed)
    validation = compared.rows[compared.held_out]
    fits: list[InputFit] = []
    for names in [known] if known else input_sets(inputs):
        fits.append(_fit_inputs(names, compared, inputs, matrices, seed, threads))
        options = select_inputs(fits, validation).options
        matrices.keep_only(options.names)
    if compared is not training:
        options = _fit_inputs(options.names, training, inputs, matrices, seed, threads).options
    start = time.perf_counter()
    fitted = _fit_posteriors(options, training, parts["test"], inputs, matrices, seed)
    seconds = time.perf_counter() - start

    test = parts["test"]
    spec = HeadSpec(
        target=target,
        inputs=options.names,
        width=fitted.booster.num_features(),
        feature_step=inputs.feature_step,
        file=f"heads/{inputs.graph}/{target.name}.ubj",
        trees=f"heads/{inputs.graph}/{target.name}.trees.npz",
        posterior=f"heads/{inputs.graph}/{target.name}.npz",
        augmentation_known=inputs.augmentation_known,
        calibration=fitted.calibration,
    )
    estimator = Estimator(Head(spec, TreeEnsemble.of(fitted.booster)), fitted.tested)
    image_score = fitted.test_score.astype(np.float32)
    probability = _mean_probability(estimator, inputs, test, image_score)
    figures = evaluate(
        test.label,
        probability,
        test.weight,
        train_share=parts["train"].share_of_ones,
        original=test.original,
        truth=test.truth,
    )
    judged = judged_rows(test, inputs.unchanged_rows(test).embedding, seed)
    drawn = _predict(estimator, inputs, judged.rows, image_score[judged.row])
    draws = np.concatenate(list(drawn), axis=1)
    figures["decision"] = decision_metrics(draws, judged, target.direction)
    return FittedHead(
        spec=spec.model_copy(update={"metrics": figures}),
        booster=fitted.booster,
        posterior=fitted.final,
        tested_posterior=fitted.tested,
        test_probability=probability,
        validation_log_loss={"+".join(fit.inputs): fit.loss for fit in fits},
        calibration_log_loss=fitted.calibration_log_loss,
        trees=fitted.booster.num_boosted_rounds(),
        fit_seconds=seconds,
        left_out=fitted.design.left_out,
    )


@dataclass(frozen=True, eq=False)
class _PosteriorFit:
    """A booster with its posteriors and calibration."""

    booster: xgboost.Booster
    design: Design
    test_score: Float64Array  # of the unchanged image of each test row
    tested: Posterior
    final: Posterior
    calibration: Calibration
    calibration_log_loss: dict[str, float]


def _fit_posteriors(
    options: BoosterOptions,
    training: TrainingRows,
    test: OutcomeRows,
    inputs: Inputs,
    matrices: Matrices,
    seed: int,
) -> _PosteriorFit:
    """Fit the posteriors to scores of boosters that did not see the rows' originals."""
    rows = training.rows
    design = Design.of(inputs.augmentations, inputs.columns, inputs.contexts)
    scores = cross_fitted_scores(options, training, design, inputs, matrices)
    usual = _image_means(rows, inputs, scores).usual()
    history = _history(rows, inputs, scores, usual)
    calibration, losses = _calibrate(design, inputs, history, training.held_out, seed)
    booster = options.train(training, matrices)
    scorer = Scorer.of(options, booster, design, inputs, rows)
    correction = scores[0] - scorer(rows)[0]
    test_scores = scorer(test)
    every = history.joined(_history(test, inputs, test_scores, usual))

    def posterior(outcomes: History, correction: Float64Array) -> Posterior:
        counted = outcomes.weight > 0
        outcomes, correction = outcomes[counted], correction[counted]
        rng = np.random.default_rng(seed)
        fitted = fit_effects(design, inputs.contexts, outcomes, rng, inputs.unchanged)
        image = np.searchsorted(fitted.images, outcomes.image)
        mean = np.bincount(image, correction) / np.bincount(image)
        return fitted.posterior(scorer.projection, mean, inputs.catalogue)

    return _PosteriorFit(
        scorer.booster,
        design,
        test_scores[0],
        tested=posterior(history, correction),
        final=posterior(every, np.append(correction, np.zeros(len(test)))),
        calibration=calibration,
        calibration_log_loss=losses,
    )


def _history(
    rows: OutcomeRows,
    inputs: Inputs,
    scores: tuple[Float64Array, Float64Array],
    usual: Float64Array,
) -> History:
    """Return outcomes with scores.

    Args:
        rows: R outcomes.
        inputs: what they index.
        scores: (R,) of each row's image, and of the row less that.
        usual: of ``ImageMeans``.
    """
    image_score, version_score = scores
    return History(
        rows.embedding,
        inputs.levels(rows),
        rows.context,
        rows.original,
        image_score,
        version_score,
        _image_means(rows, inputs, scores).unusual(usual),
        rows.label,
        rows.weight,
    )


def _image_means(
    rows: OutcomeRows, inputs: Inputs, scores: tuple[Float64Array, Float64Array]
) -> ImageMeans:
    """Return the mean scores of each image's outcomes; see ``_history``."""
    unchanged = inputs.unchanged_rows(rows).embedding
    changed = (unchanged >= 0) & (rows.embedding != unchanged)
    return ImageMeans.of(rows.original, changed, rows.weight, scores)


def _calibrate(
    design: Design, inputs: Inputs, history: History, held_out: NDArray[np.bool_], seed: int
) -> tuple[Calibration, dict[str, float]]:
    """Choose the calibration on validation rows, which this posterior was not fitted to."""
    rng = np.random.default_rng(seed)
    fitted = fit_effects(design, inputs.contexts, history[~held_out], rng, draws=DRAWS_OF_MEAN)
    rest = history[held_out & (history.weight > 0)]
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


def _fit_inputs(
    names: tuple[HeadInput, ...],
    training: TrainingRows,
    inputs: Inputs,
    matrices: Matrices,
    seed: int,
    threads: int,
) -> InputFit:
    """Fit a booster of the training split, stopped early on the validation split."""
    rows, held_out = training.rows, training.held_out
    parameters = _parameters(names, rows[~held_out], inputs, seed, threads)
    pair = matrices.get(names, training)
    pair.all.weigh(np.where(held_out, 0.0, rows.weight))
    booster = xgboost.train(
        {**parameters, "device": pair.device},
        pair.all.matrix,
        ROUNDS,
        evals=[(pair.validation.matrix, "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    best = booster[: booster.best_iteration + 1]
    best.set_param({"device": "cpu"})  # it predicts arrays in host memory
    options = BoosterOptions(names, parameters, best.num_boosted_rounds())
    validation = rows[held_out]
    margin = options.margins(best, validation, inputs)
    probability = 1 / (1 + np.exp(-margin.astype(np.float64)))
    return InputFit(options, margin, log_loss(validation.label, probability, validation.weight))


def _parameters(
    names: tuple[HeadInput, ...], train: OutcomeRows, inputs: Inputs, seed: int, threads: int
) -> dict[str, Any]:
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


def _mean_probability(
    estimator: Estimator, inputs: Inputs, rows: OutcomeRows, image_score: NDArray[np.float32]
) -> Float64Array:
    """Return the mean of the draws of ``_predict``, float64 (R,)."""
    distinct = rows.distinct()
    shown, score = rows[distinct.first], image_score[distinct.first]
    means = [draws.mean(axis=0) for draws in _predict(estimator, inputs, shown, score)]
    return np.concatenate(means)[distinct.number]


def _predict(
    estimator: Estimator, inputs: Inputs, rows: OutcomeRows, image_score: NDArray[np.float32]
) -> Iterator[Float64Array]:
    """Predict draws of rows of images without outcomes, in parts of bounded size.

    Args:
        estimator: of the head.
        inputs: what the rows index.
        rows: the outcomes.
        image_score: (R,) score of each row's unchanged image in its context.

    Yields:
        float64 (M, part of R), in order.
    """
    for part in rows.chunks(DRAWN_ARRAYS * estimator.draws):
        some = rows[np.arange(len(rows))[part]]
        found = inputs.rows(some)
        yield estimator.history(found, some.original, some.embedding, image_score[part])
