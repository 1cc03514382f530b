"""Baselines of each head: majority class, logistic regression, scikit-learn's boosting."""

import time
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from augrank.models.head import HeadInput
from training.common.metrics import scores
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.dmatrix import threads_for
from training.run.report import LOGISTIC, MAJORITY, SKLEARN_BOOSTING

MAX_ROWS = 50_000  # of training; scikit-learn needs them all in memory


def fit_baselines(
    names: tuple[HeadInput, ...],
    train: OutcomeRows,
    test: OutcomeRows,
    inputs: Inputs,
    *,
    seed: int,
    threads: int,
) -> dict[str, dict[str, Any]]:
    """Fit each baseline on the head's inputs, and return its test scores and fit time.

    Args:
        names: the head's inputs.
        train: outcomes to fit; if more than MAX_ROWS, an evenly spaced sample.
        test: outcomes to score.
        inputs: embeddings and contexts.
        seed: of the boosting's sampling.
        threads: maximum; fewer are used for small tables.

    Returns:
        Scores and ``fit_seconds``, by name of the baseline.
    """
    sample = np.unique(np.linspace(0, len(train) - 1, MAX_ROWS).astype(np.int64))
    fitted = train[sample]
    train_x, train_y, train_weight = inputs.assemble(names, fitted), fitted.label, fitted.weight
    constant = np.full(len(test), train.share_of_ones)
    rows: dict[str, dict[str, Any]] = {
        MAJORITY: {**scores(test.label, constant, test.weight), "fit_seconds": 0.0}
    }
    models = {
        LOGISTIC: make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)),
        SKLEARN_BOOSTING: HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, early_stopping=True, random_state=seed
        ),
    }
    for name, model in models.items():
        step = "logisticregression__" if name == LOGISTIC else ""
        start = time.perf_counter()
        with threadpool_limits(threads_for(len(train_x), train_x.shape[1], threads)):
            model.fit(train_x, train_y, **{f"{step}sample_weight": train_weight})
        seconds = time.perf_counter() - start
        chunks = [
            model.predict_proba(inputs.assemble(names, test, part))
            for part in test.chunks(inputs.width(names))
        ]
        probability = np.concatenate(chunks)[:, 1]
        rows[name] = {**scores(test.label, probability, test.weight), "fit_seconds": seconds}
    return rows
