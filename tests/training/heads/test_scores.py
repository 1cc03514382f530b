"""What XGBoost knows beyond augmentation and context, of rows that it was not trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.heads.histories import AUGMENTATIONS, make_inputs, make_parts, seed_rule
from training.heads.dataset import TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.posterior.design import Design
from training.heads.scores import BoosterOptions, Scorer, cross_fitted_scores

CONTEXTS = np.eye(2, dtype=np.float32)
NAMES = ("augmentation", "features", "context")
OPTIONS = BoosterOptions(
    NAMES, {"objective": "binary:logistic", "max_depth": 4, "seed": 0, "nthread": 1}, 12
)


@pytest.fixture
def fitted():
    inputs = make_inputs(CONTEXTS)
    training = TrainingRows.of(make_parts(seed_rule, 2))
    design = Design.of(AUGMENTATIONS, inputs.columns, inputs.contexts)
    with Matrices(inputs, 1, Path("unused")) as matrices:
        booster = OPTIONS.train(training, matrices)
        crossed = cross_fitted_scores(OPTIONS, training, design, inputs, matrices)
    rows = training.rows
    return inputs, rows, Scorer.of(OPTIONS, booster, design, inputs, rows), crossed


def test_the_score_of_an_image_is_that_of_its_unchanged_image_in_the_same_context(fitted):
    inputs, rows, scorer, _ = fitted
    image_score, version_score = scorer(rows)
    unchanged = rows.augmentation == 0
    assert np.abs(version_score[unchanged]).max() < 1e-6
    keys = rows.original * 2 + rows.context
    for key in np.unique(keys)[:40]:
        assert np.ptp(image_score[keys == key]) < 1e-6
    own = image_score[unchanged] + version_score[unchanged]
    margins = scorer.options.margins(scorer.booster, rows[unchanged], inputs)
    cells = scorer.design.cells(rows.augmentation, rows.context, CONTEXTS)
    assert own == pytest.approx(margins - cells(scorer.projection)[unchanged], abs=1e-5)


def test_without_the_unchanged_image_it_is_the_mean_of_the_versions(fitted):
    inputs, rows, scorer, _ = fitted
    missing = inputs.unchanged.copy()
    missing[3] = -1
    blind = replace(scorer, inputs=replace(inputs, unchanged=missing))
    image_score, version_score = blind(rows)
    inside = rows.original == 3
    assert np.ptp(image_score[inside]) < 1e-6
    assert version_score[inside].mean() == pytest.approx(0, abs=1e-6)
    whole = scorer(rows)
    assert np.array_equal(image_score[~inside], whole[0][~inside])


def test_cross_fitted_scores_do_not_know_the_rows_outcomes(fitted):
    """Features are noise: a booster remembers its own rows, and tells nothing about others."""
    _, rows, scorer, crossed = fitted
    surprise = rows.label - rows.truth
    own = np.corrcoef(sum(scorer(rows)), surprise)[0, 1]
    other = np.corrcoef(sum(crossed), surprise)[0, 1]
    assert own > 0.2
    assert abs(other) < 0.08
