"""Histories that say little: an honest "cannot tell", never a number from nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from augrank.models.head import Head, HeadRows
from augrank.models.tree_ensemble import TreeEnsemble
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects
from augrank.trust.verdict import decide, interval
from tests.training.heads.histories import AUGMENTATIONS, TARGET, make_inputs, make_parts, seed_rule
from training.heads.dmatrix import Matrices
from training.heads.fit import fit_head
from training.heads.fit_all import _unusable

CONTEXTS = np.eye(2, dtype=np.float32)


def fit(parts):
    inputs = make_inputs(CONTEXTS)
    with Matrices(inputs, 1, Path("unused")) as matrices:
        head = fit_head(TARGET, parts, inputs, matrices=matrices, seed=0, threads=1)
    return Estimator(Head(head.spec, TreeEnsemble.of(head.booster)), head.posterior)


def candidates(estimator):
    """Return draws for the candidates of a new image."""
    inputs = make_inputs(CONTEXTS)
    rows = HeadRows(
        np.arange(AUGMENTATIONS),
        inputs.table.logits[:AUGMENTATIONS],
        inputs.table.features[:AUGMENTATIONS],
        CONTEXTS[0],
    )
    return estimator.candidates(rows, ImageEffects.unknown(1))


def decision(draws):
    return decide(draws[:, 1:], draws[:, 0], TARGET.direction)


def test_a_history_of_one_augmentation_cannot_tell_about_the_others():
    parts = {
        split: rows[rows.augmentation == 0] for split, rows in make_parts(seed_rule, 2).items()
    }
    draws = candidates(fit(parts))
    low, high = interval(draws)
    assert decision(draws).kind == "unsure"
    assert (high - low)[0] < 0.3
    assert low[0] < 0.2 < high[0]


def test_three_successes_are_not_enough_for_a_change():
    rng = np.random.default_rng(0)
    parts = {}
    for split, rows in make_parts(seed_rule, 2).items():
        label = np.zeros(len(rows))
        if split == "train":
            winners = np.flatnonzero(rows.augmentation == 1)
            label[rng.choice(winners, 3, replace=False)] = 1
        parts[split] = replace(rows, label=label, truth=None)
    draws = candidates(fit(parts))
    assert decision(draws).kind == "unsure"
    assert draws.mean() < 0.02
    assert np.isfinite(draws).all()


def test_where_the_augmentation_does_not_matter_no_change_is_recommended():
    parts = make_parts(lambda augmentation, context: np.full(len(context), 0.3), 2)
    assert decision(candidates(fit(parts))).kind == "unsure"


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_outcomes_that_are_all_equal_give_no_head_and_a_reason(outcome):
    parts = {
        split: replace(rows, label=np.full(len(rows), outcome))
        for split, rows in make_parts(seed_rule, 2).items()
    }
    assert _unusable(parts) == f"every outcome of the training split is {outcome:.0f}"


def test_rows_without_outcomes_change_nothing():
    parts = make_parts(seed_rule, 2)
    padded = {}
    for split, rows in parts.items():
        empty = replace(rows, weight=np.zeros(len(rows)), label=1 - rows.label)
        padded[split] = rows.joined(empty)
    plain, more = candidates(fit(parts)), candidates(fit(padded))
    assert np.abs(plain.mean(axis=0) - more.mean(axis=0)).max() < 0.05


def test_weights_of_zero_give_no_head_and_a_reason():
    parts = {
        split: replace(rows, weight=np.zeros(len(rows)))
        for split, rows in make_parts(seed_rule, 2).items()
    }
    assert "no outcomes" in _unusable(parts)
