"""The methods compared: a head's posterior, its XGBoost alone, and bootstrapped XGBoost.

All have the inputs and the number of trees that validation selected. The head's XGBoost is fitted
to the training and validation splits; its posterior and the bootstrapped ones to all outcomes.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xgboost

from augrank.arrays import Float64Array
from augrank.models.head import Head, HeadRows
from augrank.models.tree_ensemble import TreeEnsemble
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects
from augrank.trust.verdict import decide, interval
from benchmarks.trust.decision_figures import Judged
from benchmarks.trust.history import TARGET, History, one_thread_matrices
from benchmarks.trust.worlds import Case, Options
from training.heads.fit import FittedHead
from training.heads.scores import BoosterOptions

BOOTSTRAPS = 20


class Method(Protocol):
    """Judges cases; keeps the time that each took."""

    def judge(self, case: Case) -> Judged:
        """Answer one case, and compare the answer with the truth."""

    @property
    def added_ms(self) -> float:
        """Median time of a case beyond XGBoost's margin of its rows."""

    @property
    def added_bytes(self) -> int:
        """Size of the files beyond the head's XGBoost model."""


class _Timed:
    """Keeps the seconds that each case took beyond XGBoost's margin of its rows."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    @property
    def added_ms(self) -> float:
        """Median time of a case."""
        return 1e3 * float(np.median(self._seconds))


class PosteriorMethod(_Timed):
    """What a server answers: draws of the posterior, intervals and the verdict."""

    def __init__(self, fitted: FittedHead, options: Options) -> None:
        super().__init__()
        self._head = Head(fitted.spec, TreeEnsemble.of(fitted.booster))
        self._posterior, self._options = fitted.posterior, options
        self._estimator = Estimator(self._head, fitted.posterior)

    def judge(self, case: Case) -> Judged:
        """Answer one case."""
        if self._options == "alternates":
            return self._alternates(case)
        started = time.perf_counter()
        self._head.margin(case.rows)
        margin_s = time.perf_counter() - started
        started = time.perf_counter()
        judged = judged_draws(self._estimator.candidates(case.rows, self._known(case)), case)
        self._seconds.append(time.perf_counter() - started - margin_s)
        return judged

    def _alternates(self, case: Case) -> Judged:
        own, others = _row(case.rows, slice(1)), _row(case.rows, slice(1, None))
        score, catalogue = self._estimator.score(others), self._estimator.catalogue
        if case.known is not None:
            catalogue = catalogue[np.arange(len(catalogue)) != case.known]
        image = self._estimator.candidates(own, self._known(case))
        started = time.perf_counter()  # a server keeps the scores
        alternates = self._estimator.images(others, score, catalogue, first=1)
        judged = judged_draws(np.concatenate([image, alternates], axis=1), case)
        self._seconds.append(time.perf_counter() - started)
        return judged

    def _known(self, case: Case) -> ImageEffects:
        """Return what is known of the request's image."""
        if case.known is None:
            return ImageEffects.unknown(1)
        return self._estimator.catalogue[case.known : case.known + 1]

    @property
    def added_bytes(self) -> int:
        """Size of the posterior's file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "posterior.npz"
            self._posterior.save(file)
            return file.stat().st_size


class NaiveMethod:
    """The highest estimate wins: the head's XGBoost alone, without intervals."""

    added_ms, added_bytes = 0.0, 0

    def __init__(self, fitted: FittedHead) -> None:
        self._head = Head(fitted.spec, TreeEnsemble.of(fitted.booster))

    def judge(self, case: Case) -> Judged:
        """Recommend the highest estimate; the reference on ties."""
        probability = _probability(self._head.margin(case.rows).astype(np.float64))
        nothing = np.empty((2, 0))
        better = probability[1:] > probability[0]
        chosen = int(np.argmax(probability))
        return Judged(case.truth, case.expected, probability, nothing, nothing, better, chosen)


class EnsembleMethod(_Timed):
    """Heads over bootstrapped originals: their quantiles are intervals, the verdict is ours."""

    def __init__(self, fitted: FittedHead, boosters: list[xgboost.Booster]) -> None:
        super().__init__()
        self._heads = [Head(fitted.spec, TreeEnsemble.of(booster)) for booster in boosters]
        self._bytes = sum(len(booster.save_raw("ubj")) for booster in boosters[1:])

    @classmethod
    def fit(cls, fitted: FittedHead, history: History, seed: int) -> "EnsembleMethod":
        """Fit BOOTSTRAPS boosters, each to as many originals, drawn with replacement."""
        options, rng = booster_options(fitted), np.random.default_rng(seed)
        rows = history.every.rows
        numbers, original = np.unique(rows.original, return_inverse=True)
        boosters = []
        with one_thread_matrices(history.inputs) as matrices:
            for _ in range(BOOTSTRAPS):
                drawn = rng.integers(len(numbers), size=len(numbers))
                times = np.bincount(drawn, minlength=len(numbers))[original]
                boosters.append(options.train(history.every, matrices, rows.weight * times))
        return cls(fitted, boosters)

    def judge(self, case: Case) -> Judged:
        """Answer one case."""
        margins = [self._heads[0].margin(case.rows)]
        started = time.perf_counter()
        margins += [head.margin(case.rows) for head in self._heads[1:]]
        judged = judged_draws(_probability(np.array(margins, np.float64)), case)
        self._seconds.append(time.perf_counter() - started)
        return judged

    @property
    def added_bytes(self) -> int:
        """Size of all boosters but one."""
        return self._bytes


def judged_draws(draws: Float64Array, case: Case) -> Judged:
    """Decide by draws of the options' probabilities, (M, N), as a server does."""
    reference = draws[:, 0]
    decision = decide(draws[:, 1:], reference, TARGET.direction)
    return Judged(
        truth=case.truth,
        expected=case.expected,
        probability=draws.mean(axis=0),
        interval=np.stack(interval(draws)),
        difference_interval=np.stack(interval(draws[:, 1:] - reference[:, None])),
        better=decision.better,
        chosen=0 if decision.option is None else 1 + decision.option,
        unsure=decision.kind == "unsure",
    )


def booster_options(fitted: FittedHead) -> BoosterOptions:
    """Return the options that train another booster like the head's."""
    learner = json.loads(fitted.booster.save_config())["learner"]
    parameters: dict[str, Any] = dict(learner["gradient_booster"]["tree_train_param"])
    parameters |= {
        "objective": learner["objective"]["name"],
        "base_score": float(learner["learner_model_param"]["base_score"].strip("[]")),
        "tree_method": "hist",
        "seed": int(learner["generic_param"]["seed"]),
        "nthread": 1,
        "verbosity": 0,
    }
    return BoosterOptions(fitted.spec.inputs, parameters, fitted.trees)


def _row(rows: HeadRows, part: slice) -> HeadRows:
    """Return a part of rows that share a context."""
    return HeadRows(rows.augmentation[part], rows.logits[part], rows.features[part], rows.context)


def _probability(odds: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-odds)), np.float64)
