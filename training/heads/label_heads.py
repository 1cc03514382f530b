"""Fit the head of a label to the embeddings of one graph, and test it.

Three candidates: the network's own last layer, a multinomial logistic regression on the features,
and XGBoost on them. The one with the lowest log loss on the validation split is kept, each at its
best temperature there. The temperature that is served, and the scores of prediction sets, come from
the calibration split.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from augrank.arrays import Float32Array, Float64Array
from augrank.models.label_head import LabelCalibration, LabelHead, LabelHeadSpec, softmax
from augrank.models.scorers import HeadKind, Linear, Scorer, Trees
from augrank.models.tree_ensemble import TreeEnsemble
from training.common.classification import ClassificationFigures, classification_figures, row_losses
from training.common.metrics import EPSILON
from training.data.labels import Label
from training.data.samples import NOT_LABELLED
from training.data.splits import TEST, TRAIN, VALIDATION
from training.heads.candidates import (
    FEATURE_STEPS,
    LOGISTIC,
    MAX_ROUNDS,
    MAX_TREE_ROWS,
    NETWORK,
    PATIENCE,
    STRENGTHS,
    TREE_COLUMNS,
    TREE_OPTIONS,
    XGBOOST,
    Candidate,
)

if TYPE_CHECKING:
    import xgboost
    from sklearn.linear_model import LogisticRegression

COVERAGES = (0.9, 0.95)  # of prediction sets, in the report
MAX_TEMPERATURE = 20.0
ABSENT = -30.0  # log odds of a class without images
RARE = 200  # images of a class, all of which are kept in a sample
MAX_LOGISTIC_ROWS = 20_000  # drawn by seed; more do not change two thousand weights per class
MAX_TREE_CLASSES = 30  # each has trees of its own


@dataclass(frozen=True)
class LabelRows:
    """The labelled images of one split."""

    features: Float32Array  # (N, F)
    logits: Float32Array  # (N, K), of the network
    label: NDArray[np.int64]  # (N,)
    group: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Told:
    """What a head says of the labelled images of a split."""

    probability: Float64Array  # (N, K)
    label: NDArray[np.int64]  # (N,)
    group: NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class FittedLabelHead:
    """A head, and how it does on the test split.

    Attributes:
        head: as a server loads it.
        candidate: what it is.
        candidates: validation losses of all that were compared, by name.
        validation: what it says of the validation split, which chose it.
        held: of the calibration split.
        test: of the test split.
    """

    head: LabelHead
    candidate: Candidate
    candidates: Mapping[str, float]
    validation: Told
    held: Told
    test: Told

    @cached_property
    def figures(self) -> ClassificationFigures:
        """How it does on the test split."""
        test = self.test
        return classification_figures(
            test.probability, test.label, test.group, self.head.spec.classes
        )

    def entry(self) -> dict[str, Any]:
        """Return the head's entry in report.json."""
        rows = np.arange(len(self.test.label))
        sets = {}
        for coverage in COVERAGES:
            inside = self.head.sets(self.test.probability, coverage)
            sets[f"{coverage:g}"] = {
                "covered": float(inside[rows, self.test.label].mean()),
                "size": float(inside.sum(axis=1).mean()),
            }
        figures = asdict(self.figures)
        return {
            "head": self.candidate.name,
            "candidates": dict(self.candidates),
            "temperature": self.head.calibration.temperature,
            "calibration_images": len(self.held.label),
            "sets": sets,
            **figures,
        }

    def metrics(self) -> dict[str, Any]:
        """Return the entry for run.json and bundle.json, without the confusion matrix."""
        return {name: value for name, value in self.entry().items() if name != "confusion"}

    def save(self, root: Path) -> None:
        """Write its files below a run."""
        calibration = self.head.calibration
        arrays = {
            "temperature": np.float64(calibration.temperature),
            "scores": calibration.scores,
        }
        self.candidate.save(root, self.head.spec.paths, arrays)


def labelled(
    features: Float32Array,
    logits: Float32Array,
    label: NDArray[np.int64],
    group: NDArray[np.int64],
) -> LabelRows:
    """Return the images that have this label.

    Args:
        features: (N, F).
        logits: (N, K), the network's for this label.
        label: (N,), NOT_LABELLED where unknown.
        group: (N,).
    """
    known = label != NOT_LABELLED
    return LabelRows(features[known], logits[known], label[known], group[known])


def fit_label_head(  # noqa: PLR0913 - what is fitted, from what, and how
    label: Label,
    parts: Mapping[int, LabelRows],
    last_layer: Linear,
    stem: str,
    *,
    calibration: int,
    seed: int,
    threads: int,
) -> FittedLabelHead:
    """Fit the candidates, choose one, calibrate and test it.

    Args:
        label: name and classes.
        parts: the labelled images by split.
        last_layer: of the network, for this label.
        stem: of its files, relative to the run, without suffix.
        calibration: number of the calibration split.
        seed: of samples and trees.
        threads: for XGBoost.
    """
    train, validation = parts[TRAIN], parts[VALIDATION]
    candidates = [
        _candidate(NETWORK, last_layer, validation),
        _logistic(train, validation, len(label.classes), seed),
    ]
    if len(label.classes) <= MAX_TREE_CLASSES:
        candidates.append(_trees(train, validation, len(label.classes), seed, threads))
    best = min(candidates, key=lambda each: each.validation_loss)
    held = parts[calibration]
    scores = best.scorer(held.features)
    temperature = best_temperature(scores, held.label)
    probability = softmax(scores, temperature)
    right = probability[np.arange(len(held.label)), held.label]
    fitted = LabelCalibration(temperature, np.sort(1 - right).astype(np.float32))
    kind: HeadKind = "linear" if best.booster is None else "xgboost"
    spec = LabelHeadSpec(
        label=label.name,
        classes=label.classes,
        kind=kind,
        file=f"{stem}.npz",
        trees=None if kind == "linear" else f"{stem}.trees.npz",
    )

    def told(split: int) -> Told:
        rows = parts[split]
        return Told(softmax(best.scorer(rows.features), temperature), rows.label, rows.group)

    return FittedLabelHead(
        LabelHead(spec, best.scorer, fitted),
        best,
        {each.name: each.validation_loss for each in candidates},
        validation=told(VALIDATION),
        held=Told(probability, held.label, held.group),
        test=told(TEST),
    )


def best_temperature(scores: Float32Array, label: NDArray[np.int64]) -> float:
    """Return the temperature with the lowest log loss.

    As Platt (1999) did, a little of each label is given to all classes, as if one more image were
    labelled wrongly: of a few images that are all told rightly, nothing would be certain enough.

    Args:
        scores: log odds, (N, K).
        label: (N,).
    """
    spread = 1 / (len(label) + 2)

    def loss(log_temperature: float) -> float:
        probability = softmax(scores, float(np.exp(log_temperature)))
        all_classes = -np.log(np.clip(probability, EPSILON, 1)).mean()
        told = float(row_losses(probability, label).mean())
        return float((1 - spread) * told + spread * all_classes)

    bound = float(np.log(MAX_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def _candidate(
    name: str,
    scorer: Scorer,
    validation: LabelRows,
    booster: "xgboost.Booster | None" = None,
) -> Candidate:
    scores = scorer(validation.features)
    probability = softmax(scores, best_temperature(scores, validation.label))
    loss = float(row_losses(probability, validation.label).mean())
    return Candidate(name, scorer, loss, booster)


def _sampled(rows: LabelRows, most: int, seed: int) -> LabelRows:
    if len(rows.label) <= most:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows.label))
    # The rows of rare classes come first: none may be lost.
    count = np.bincount(rows.label)[rows.label[order]]
    rare = np.argsort(np.where(count <= RARE, 0, 1), kind="stable")
    chosen = np.sort(order[rare][:most])
    return LabelRows(
        rows.features[chosen], rows.logits[chosen], rows.label[chosen], rows.group[chosen]
    )


def _logistic(train: LabelRows, validation: LabelRows, classes: int, seed: int) -> Candidate:
    """Fit a multinomial logistic regression; the penalty with the best validation loss is kept."""
    from sklearn.linear_model import LogisticRegression

    train = _sampled(train, MAX_LOGISTIC_ROWS, seed)
    center, spread = train.features.mean(axis=0), train.features.std(axis=0)
    spread = np.maximum(spread, 1e-6)
    standard = (train.features - center) / spread
    found: list[Candidate] = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300)
        model.fit(standard, train.label)
        linear = _linear(model, center, spread, classes)
        found.append(_candidate(LOGISTIC, linear, validation))
        if found[-1].validation_loss > min(each.validation_loss for each in found):
            break  # a weaker penalty is worse
    return min(found, key=lambda each: each.validation_loss)


def _linear(
    model: "LogisticRegression", center: Float32Array, spread: Float32Array, classes: int
) -> Linear:
    """Return a layer on plain features; of two classes, scikit-learn has one row.

    Classes without an image have no weights and a bias that makes them improbable.
    """
    found, width = model.classes_, model.coef_.shape[1]
    weight, bias = np.zeros((classes, width)), np.full(classes, ABSENT)
    if len(found) == 2:
        weight[found[1]] = model.coef_[0]
        bias[found] = 0.0, model.intercept_[0]
    else:
        weight[found], bias[found] = model.coef_, model.intercept_
    plain = weight / spread
    return Linear(plain.astype(np.float32), (bias - plain @ center).astype(np.float32))


def _trees(
    train: LabelRows, validation: LabelRows, classes: int, seed: int, threads: int
) -> Candidate:
    """Fit XGBoost with early stopping on the validation split."""
    import xgboost

    train = _sampled(train, MAX_TREE_ROWS, seed)
    step = float(train.features.std()) / FEATURE_STEPS or 1.0

    def matrix(rows: LabelRows) -> "xgboost.DMatrix":
        rounded = np.round(rows.features / np.float32(step)) * np.float32(step)
        return xgboost.DMatrix(rounded, rows.label)

    options = {
        "objective": "multi:softprob",
        "num_class": classes,
        "seed": seed,
        "colsample_bytree": min(1.0, TREE_COLUMNS / train.features.shape[1]),
        **TREE_OPTIONS,
    }
    booster = xgboost.train(
        {**options, "nthread": threads},
        matrix(train),
        MAX_ROUNDS,
        evals=[(matrix(validation), "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    booster = booster[: booster.best_iteration + 1]
    return _candidate(XGBOOST, Trees(TreeEnsemble.of(booster), step), validation, booster)
