from dataclasses import replace

import numpy as np
import pytest

from augrank.models.context import CategoricalColumn, NumericColumn
from tests.training.heads.posterior.effects import (
    AUGMENTATIONS,
    CAMPAIGNS,
    COLUMNS,
    CONTEXTS,
    cells,
    fit,
    simulate,
    with_version_scores,
)
from training.heads.posterior import design as design_module
from training.heads.posterior import groups, nested_effects
from training.heads.posterior.design import Design, History
from training.heads.posterior.likelihood import Counts
from training.heads.posterior.mixed_effects import fit_effects


def test_an_effect_of_one_augmentation_is_found_and_the_others_shrink_to_nothing():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.4)
    odds[1] = 1.4
    drawn = cells(fit(simulate(odds)))
    low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
    assert np.mean((low <= odds) & (odds <= high)) > 0.85
    assert np.abs(drawn.mean(axis=0) - odds).max() < 0.35
    others = drawn.mean(axis=0)[[0, 2, 3, 4, 5]]
    assert np.ptp(others) < 0.4  # of 25 cells whose raw estimates scatter by 0.26


def test_an_interaction_is_found():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.4)
    odds[np.arange(CAMPAIGNS), np.arange(CAMPAIGNS)] = 1.4
    drawn = cells(fit(simulate(odds))).mean(axis=0)
    best = drawn.argmax(axis=0)
    assert best.tolist() == list(range(CAMPAIGNS))
    assert np.abs(drawn - odds).mean() < 0.25


def test_a_score_of_the_image_is_used_and_one_of_the_versions_is_not():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -0.5)

    def by_image(rng, image):
        return rng.normal(0, 1.0, image.max() + 1)[image]

    fitted = fit(simulate(odds, score=by_image))
    assert fitted.slopes[:, 0].mean() == pytest.approx(1.0, abs=0.2)
    history = simulate(odds)
    noise = np.random.default_rng(1).normal(size=len(history.label) // 2)
    fitted = fit(with_version_scores(history, history.image_score, np.tile(noise, 2)))
    assert np.abs(fitted.slopes[:, 1:].mean(axis=0)).max() < 0.2


def test_counts_are_the_same_as_single_outcomes_and_rows_without_outcomes_do_not_count():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    history = simulate(odds, trials=40, originals=30)
    shown = history[history.weight > 0]
    counts = Counts.of(shown, shown.image, AUGMENTATIONS)
    assert counts.trials.sum() == 30 * 24 * 40
    assert counts.successes.sum() == history.weight[history.label == 1].sum()
    distinct = {*zip(history.embedding.tolist(), history.context.tolist(), strict=True)}
    assert len(counts.trials) == len(distinct)
    assert (counts.trials > 0).all()
    assert len(counts.image) == 30 * AUGMENTATIONS
    assert (np.diff(counts.version) >= 0).all()


def test_rare_outcomes_give_draws_that_are_independent_and_as_wide_as_the_data_say():
    """With 2 in 1,000, a chain of Polya-Gamma variables would hardly move."""
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), np.log(0.002 / 0.998))
    history = simulate(odds, trials=500, originals=100)
    mean = cells(fit(history)).mean(axis=(1, 2))
    successes = history.weight[history.label == 1].sum()
    assert mean.std() == pytest.approx(successes**-0.5, rel=0.35)
    assert abs(mean.mean() - odds[0, 0]) < 3 * successes**-0.5
    neighbours = np.corrcoef(mean[:-1], mean[1:])[0, 1]
    assert abs(neighbours) < 0.3


def test_few_outcomes_have_the_posterior_of_numerical_integration(monkeypatch):
    """One probability, whose log odds have a normal prior and nothing else."""
    for module in (groups, nested_effects):
        monkeypatch.setattr(module, "NO_EFFECT", 1 - 1e-12)
    monkeypatch.setattr(nested_effects, "NO_VERSION_EFFECT", 1 - 1e-12)
    monkeypatch.setattr(nested_effects, "NO_OWN_EFFECT", 1 - 1e-12)
    level = np.zeros(2, np.int64)
    zeros = np.zeros(2)
    history = History(level, level, level, level, zeros, zeros, zeros,
                      np.array([1.0, 0.0]), np.array([3.0, 9.0]))  # fmt: skip
    design = Design.of(1, (), np.zeros((1, 0), np.float32))
    fitted = fit_effects(design, np.zeros((1, 0), np.float32), history, np.random.default_rng(0))
    drawn = fitted.effects.sum(axis=1)
    grid = np.linspace(-12, 12, 4001)
    log = 3 * grid - 12 * np.logaddexp(0, grid) - (grid - np.log(3.5 / 9.5)) ** 2 / 18
    density = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    mean = density @ grid
    assert drawn.mean() == pytest.approx(mean, abs=0.1)
    assert drawn.std() == pytest.approx(np.sqrt(density @ (grid - mean) ** 2), rel=0.12)


def test_the_projection_leaves_nothing_that_augmentation_and_context_explain():
    design = Design.of(AUGMENTATIONS, COLUMNS, CONTEXTS)
    rng = np.random.default_rng(0)
    level, context = rng.integers(AUGMENTATIONS, size=500), rng.integers(CAMPAIGNS, size=500)
    margin = rng.normal(size=(AUGMENTATIONS, CAMPAIGNS))[level, context]
    cells = design.cells(level, context, CONTEXTS)
    assert cells.matrix.shape[0] == AUGMENTATIONS * CAMPAIGNS
    rest = margin - cells(cells.project(np.ones(500), margin))
    assert np.abs(rest).max() < 0.01


def test_the_interactions_of_wide_context_are_left_to_xgboost_before_its_effects(monkeypatch):
    columns = (
        CategoricalColumn(name="wide", values=tuple(map(str, range(39)))),
        CategoricalColumn(name="narrow", values=("x", "y")),
    )
    contexts = np.eye(41, dtype=np.float32)
    for most, sizes, left_out in (
        (7 + 41 + 12 + 6 * 39, [6, 2, 39, 12, 6 * 39], ()),
        (7 + 41 + 12 + 6 * 39 - 1, [6, 2, 39, 12], ("wide",)),
        (7 + 41 - 1, [6, 2, 12], ("wide",)),
    ):
        monkeypatch.setattr(design_module, "MAX_EFFECTS", most)
        design = Design.of(6, columns, contexts)
        assert [len(group) for group in design.groups] == sizes
        assert design.left_out == left_out
        assert len(design.active) == 1 + sum(sizes)
        found = design.cells(np.array([1, 1]), np.array([0, 0]), contexts)
        assert found.matrix.shape == (1, len(design.active))


def test_numbers_are_standardised():
    columns = (NumericColumn(name="spend", low=0, high=100),)
    contexts = np.array([[0.0], [100.0]], np.float32)
    design = Design.of(2, columns, contexts)
    assert (design.center.tolist(), design.scale.tolist()) == ([50.0], [50.0])
    rows = design.cells(np.array([0, 1]), np.array([0, 1]), contexts).matrix.toarray()
    assert rows.tolist() == [[1, 1, 0, -1, -1, 0], [1, 0, 1, 1, 0, 1]]


def test_the_contexts_of_images_that_were_shown_in_one_each_are_unsure():
    """Whether the images or the contexts differ cannot be told; the sum is known."""
    rng = np.random.default_rng(0)
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    history = simulate(odds, deviation=1.0, trials=500, originals=20)
    one_each = replace(history, context=history.image % CAMPAIGNS)
    fitted = fit(one_each, seed=int(rng.integers(9)))
    by_context = cells(fitted).mean(axis=1)  # (M, contexts), over augmentations
    assert by_context.std(axis=0).min() > 0.2  # four images in each


def test_the_score_of_versions_does_not_make_up_for_that_of_the_image():
    """The image decides, and each version shows its look with some noise."""
    rng = np.random.default_rng(0)
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    look = rng.normal(0, 1.5, 150)
    seen = look[:, None] + rng.normal(0, 0.7, (150, AUGMENTATIONS))  # by image and version
    history = simulate(odds, score=lambda _, image: look[image])
    image_score = seen[history.image, 0]
    version_score = seen[history.image, history.level] - image_score
    scored = with_version_scores(history, image_score, version_score)
    fitted = fit(scored)
    without = fit(replace(scored, version_mean=np.zeros(len(history.label))))
    assert without.slopes[:, 2:].mean() > 0.1
    assert abs(fitted.slopes[:, 2:].mean()) < 0.08
    assert 0.5 < fitted.slopes[:, 0].mean() < 1


def test_an_approximation_that_starts_far_off_does_not_diverge():
    """Images around 2.5 % with a deviation of 0.7: some fits ran away before steps were bounded."""
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), np.log(0.025 / 0.975))
    for seed in range(3):
        fitted = fit(simulate(odds, seed=seed, deviation=1.5, trials=60, originals=60), seed)
        assert fitted.deviation.mean() == pytest.approx(1.5, rel=0.3)
        assert fitted.version_deviation.mean() < 0.15
