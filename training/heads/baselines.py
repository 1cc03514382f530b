"""The comparison row of each head: majority, logistic regression, scikit-learn's boosting."""

import time
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from augrank.models.head import HeadInput
from training.common.metrics import scores
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.dmatrix import threads_for
from training.run.report import LOGISTIC, MAJORITY, SKLEARN_BOOSTING

MAX_ROWS = 50_000  # of training; scikit-learn wants them all in memory


def compare(
    names: tuple[HeadInput, ...],
    train: OutcomeRows,
    test: OutcomeRows,
    inputs: Inputs,
    *,
    seed: int,
    threads: int,
) -> dict[str, dict[str, Any]]:
    """Test scores and fit seconds of each baseline, on the inputs that the head chose.

    Args:
        names: the head's inputs.
        train: outcomes to fit; of more than MAX_ROWS an even sample is taken.
        test: outcomes to score.
        inputs: embeddings and contexts.
        seed: of the boosting's own sampling.
        threads: at most; fewer where there is little to do.
    """
    chosen = np.unique(np.linspace(0, len(train) - 1, MAX_ROWS).astype(np.int64))
    train_x = inputs.assemble(names, train.embedding[chosen], train.context[chosen])
    train_y, train_weight = train.label[chosen], train.weight[chosen]
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
        last = "logisticregression__" if name == LOGISTIC else ""
        start = time.perf_counter()
        with threadpool_limits(threads_for(len(train_x), train_x.shape[1], threads)):
            model.fit(train_x, train_y, **{f"{last}sample_weight": train_weight})
        seconds = time.perf_counter() - start
        probability = np.concatenate([
            model.predict_proba(inputs.assemble(names, test.embedding[part], test.context[part]))
            for part in test.chunks(inputs.width(names))
        ])[:, 1]  # fmt: skip
        rows[name] = {**scores(test.label, probability, test.weight), "fit_seconds": seconds}
    return rows
