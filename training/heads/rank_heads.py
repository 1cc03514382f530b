"""Fit the head of a rank to the embeddings of one graph, and test it.

Three candidates, all of which learn from pairs of images of the same uploader: the network's own
output, a logistic regression on the differences of features, and XGBoost (LambdaMART with pairwise
loss; Burges, 2010). The one with the lowest log loss of validation pairs is kept, each at its best
scale there. The scale that is served, and the percentiles, come from the calibration split.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from augrank.arrays import Float32Array, Float64Array
from augrank.models.rank_head import RankCalibration, RankHead, RankHeadSpec
from augrank.models.scorers import Linear, Scorer, Trees
from augrank.models.tree_ensemble import TreeEnsemble
from training.common.ranking import Pairs, RankFigures, draw_pairs, ranking_figures
from training.data.ranks import Rank
from training.data.splits import TEST, TRAIN, VALIDATION
from training.heads.candidates import (
    FEATURE_STEPS,
    LOGISTIC,
    MAX_ROUNDS,
    MAX_TREE_ROWS,
    NETWORK,
    PATIENCE,
    TREE_COLUMNS,
    TREE_OPTIONS,
    XGBOOST,
    Candidate,
)

if TYPE_CHECKING:
    import xgboost

MAX_SCALE = 100.0
# C of the logistic regression, on standardised features. Of two pictures somebody likes one by
# chance as often as not: it needs a stronger penalty than a label.
STRENGTHS = (1e-5, 1e-4, 1e-3, 0.01, 0.1)
MAX_PAIRS = 50_000  # of the logistic regression, drawn by seed
TREE_PAIRS = 8  # of an image, in each round


@dataclass(frozen=True)
class RankRows:
    """The comparable images of one split."""

    features: Float32Array  # (N, F)
    score: Float64Array  # (N,), true, such as a number of likes
    owner: NDArray[np.int64]  # (N,) whose images are compared
    group: NDArray[np.int64]  # (N,)
    pairs: Pairs

    @classmethod
    def of(
        cls,
        features: Float32Array,
        rank: Rank,
        file: NDArray[np.int64],
        group: NDArray[np.int64],
        seed: int,
    ) -> "RankRows":
        """Return the images of a split that have a score.

        Args:
            features: (N, F).
            rank: has scores by file.
            file: (N,).
            group: (N,).
            seed: of the pairs.
        """
        known = np.isfinite(rank.score[file])
        score, owner = rank.score[file[known]], rank.owner[file[known]]
        pairs = draw_pairs(score, owner, seed)
        return cls(features[known], score, owner, group[known], pairs)


@dataclass(frozen=True)
class RankTold:
    """What a head says of the images of a split."""

    score: Float64Array  # (N,)
    rows: RankRows

    @property
    def figures(self) -> RankFigures:
        """How it does there."""
        return ranking_figures(self.score, self.rows.pairs, self.rows.group)

    def by_image(self, figure: Callable[[Float64Array], Float64Array]) -> Float64Array:
        """Return the mean of a figure of pairs for each image that has one, (M,).

        Args:
            figure: ``rows.pairs.correct`` or ``rows.pairs.loss``.
        """
        means = self.rows.pairs.mean_by_image(figure(self.score), len(self.score))
        return np.asarray(means[self.paired])

    @property
    def paired(self) -> NDArray[np.bool_]:
        """Which images have a pair, (N,)."""
        pairs = self.rows.pairs
        found = np.zeros(len(self.score), bool)
        found[pairs.higher] = found[pairs.lower] = True
        return found


@dataclass(frozen=True)
class FittedRankHead:
    """A head, and how it does on the test split.

    Attributes:
        head: as a server loads it.
        candidate: what it is.
        candidates: validation losses of all that were compared, by name.
        validation: what it says of the validation split, which chose it.
        test: of the test split.
        by_classes: share of test pairs that classes of the same scores tell rightly.
    """

    head: RankHead
    candidate: Candidate
    candidates: Mapping[str, float]
    validation: RankTold
    test: RankTold
    by_classes: float | None = None

    @cached_property
    def figures(self) -> RankFigures:
        """How it does on the test split."""
        return self.test.figures

    def metrics(self) -> dict[str, Any]:
        """Return the head's entry in report.json, run.json and bundle.json."""
        return {
            "head": self.candidate.name,
            "candidates": dict(self.candidates),
            "scale": self.head.calibration.scale,
            "calibration_images": len(self.head.calibration.scores),
            **asdict(self.figures),
            "pair_accuracy_of_classes": self.by_classes,
        }

    def save(self, root: Path) -> None:
        """Write its files below a run."""
        fitted = self.head.calibration
        arrays = {"scale": np.float64(fitted.scale), "scores": fitted.scores}
        self.candidate.save(root, self.head.spec.paths, arrays)


def fit_rank_head(  # noqa: PLR0913 - what is fitted, from what, and how
    rank: Rank,
    parts: Mapping[int, RankRows],
    last_layer: Linear,
    stem: str,
    *,
    calibration: int,
    seed: int,
    threads: int,
) -> FittedRankHead:
    """Fit the candidates, choose one, calibrate and test it.

    Args:
        rank: name.
        parts: the images by split.
        last_layer: of the network, for this rank, (1, F).
        stem: of its files, relative to the run, without suffix.
        calibration: number of the calibration split.
        seed: of samples and trees.
        threads: for XGBoost.
    """
    train, validation = parts[TRAIN], parts[VALIDATION]
    candidates = [
        _candidate(NETWORK, last_layer, validation),
        _logistic(train, validation, seed),
        _trees(train, validation, seed, threads),
    ]
    best = min(candidates, key=lambda each: each.validation_loss)
    held = parts[calibration]
    raw = _scored(best.scorer, held)
    scale = best_scale(held.pairs.margin(raw))
    fitted = RankCalibration(scale, np.sort(raw / scale).astype(np.float32))
    trees = None if best.booster is None else f"{stem}.trees.npz"
    spec = RankHeadSpec(
        rank=rank.name,
        within=rank.within,
        kind="linear" if trees is None else "xgboost",
        file=f"{stem}.npz",
        trees=trees,
    )

    def told(split: int) -> RankTold:
        return RankTold(_scored(best.scorer, parts[split]) / scale, parts[split])

    return FittedRankHead(
        RankHead(spec, best.scorer, fitted),
        best,
        {each.name: each.validation_loss for each in candidates},
        validation=told(VALIDATION),
        test=told(TEST),
    )


def best_scale(margin: Float64Array) -> float:
    """Return the scale of scores with the lowest log loss of pairs.

    As for a label's temperature, it is as if one more pair were the other way round.

    Args:
        margin: (P,) by how much the higher image's score exceeds the lower one's.
    """
    wrong = 1 / (len(margin) + 2)

    def loss(log_scale: float) -> float:
        scaled = margin / np.exp(log_scale)
        right, turned = np.logaddexp(0, -scaled).mean(), np.logaddexp(0, scaled).mean()
        return float((1 - wrong) * right + wrong * turned)

    bound = float(np.log(MAX_SCALE))
    return float(np.exp(minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x))


def _scored(scorer: Scorer, rows: RankRows) -> Float64Array:
    return scorer(rows.features)[:, 0].astype(np.float64)


def _candidate(
    name: str,
    scorer: Scorer,
    validation: RankRows,
    booster: "xgboost.Booster | None" = None,
) -> Candidate:
    raw = _scored(scorer, validation)
    scale = best_scale(validation.pairs.margin(raw))
    loss = validation.pairs.mean(validation.pairs.loss(raw / scale))
    return Candidate(name, scorer, loss, booster)


def _logistic(train: RankRows, validation: RankRows, seed: int) -> Candidate:
    """Fit a logistic regression to differences; the penalty with the best validation loss wins."""
    from sklearn.linear_model import LogisticRegression

    rng, pairs = np.random.default_rng(seed), train.pairs
    chosen = np.sort(rng.permutation(len(pairs))[:MAX_PAIRS])
    spread = np.maximum(train.features.std(axis=0), 1e-6)
    higher, lower = pairs.higher[chosen], pairs.lower[chosen]
    difference = (train.features[higher] - train.features[lower]) / spread
    first = rng.random(len(chosen)) < 0.5  # which image comes first says nothing
    difference[~first] *= -1
    found: list[Candidate] = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300, fit_intercept=False)
        model.fit(difference, first)
        weight = (model.coef_ / spread).astype(np.float32)
        found.append(_candidate(LOGISTIC, Linear(weight, np.zeros(1, np.float32)), validation))
        if found[-1].validation_loss > min(each.validation_loss for each in found):
            break  # a weaker penalty is worse
    return min(found, key=lambda each: each.validation_loss)


def _trees(train: RankRows, validation: RankRows, seed: int, threads: int) -> Candidate:
    """Fit XGBoost's pairwise ranking with early stopping on the validation split."""
    import xgboost

    step = float(train.features.std()) / FEATURE_STEPS or 1.0

    def matrix(rows: RankRows, order: NDArray[np.int64]) -> "xgboost.DMatrix":
        rounded = np.round(rows.features[order] / np.float32(step)) * np.float32(step)
        relevance = rankdata(rows.score[order], method="dense")
        return xgboost.DMatrix(rounded, relevance, qid=rows.owner[order])

    held = _by_owner(validation, None)

    def pair_loss(margin: Float32Array, _: "xgboost.DMatrix") -> tuple[str, float]:
        score = np.empty(len(held))
        score[held] = margin
        return "pairs", validation.pairs.mean(validation.pairs.loss(score))

    booster = xgboost.train(
        {
            "objective": "rank:pairwise",
            "lambdarank_pair_method": "mean",
            "lambdarank_num_pair_per_sample": TREE_PAIRS,
            "disable_default_eval_metric": True,
            "seed": seed,
            "nthread": threads,
            "colsample_bytree": min(1.0, TREE_COLUMNS / train.features.shape[1]),
            **TREE_OPTIONS,
        },
        matrix(train, _by_owner(train, seed)),
        MAX_ROUNDS,
        evals=[(matrix(validation, held), "validation")],
        custom_metric=pair_loss,
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    booster = booster[: booster.best_iteration + 1]
    return _candidate(XGBOOST, Trees(TreeEnsemble.of(booster), step), validation, booster)


def _by_owner(rows: RankRows, seed: int | None) -> NDArray[np.int64]:
    """Return the order of rows that XGBoost wants; with a seed, of a sample of many."""
    order = np.arange(len(rows.owner))
    if seed is not None and len(order) > MAX_TREE_ROWS:
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(len(order))
        # The images of an owner stay together: pairs of images are what is learned from.
        turn = rng.permutation(int(rows.owner.max()) + 1)[rows.owner[shuffled]]
        order = shuffled[np.argsort(turn, kind="stable")][:MAX_TREE_ROWS]
    return order[np.argsort(rows.owner[order], kind="stable")]
