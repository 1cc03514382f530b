import numpy as np
import pytest

from augrank.models.context import CategoricalColumn, NumericColumn
from training.heads import design as design_module
from training.heads import gibbs
from training.heads.design import Design, History, project
from training.heads.mixed_effects import fit_effects

AUGMENTATIONS, CAMPAIGNS = 6, 5
COLUMNS = (CategoricalColumn(name="campaign", values=tuple("abcde")),)
CONTEXTS = np.eye(CAMPAIGNS, dtype=np.float32)


def simulate(odds, seed=0, originals=150, deviation=0.0, score=None, trials=1):
    """Return a history of 24 rows for each original, and the true probabilities by cell."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(originals), 24)
    level = np.tile(np.arange(24) % AUGMENTATIONS, originals)
    context = rng.integers(CAMPAIGNS, size=len(image))
    effect = rng.normal(0, deviation, originals)
    scores = np.zeros(len(image)) if score is None else score(rng, image, level)
    truth = 1 / (1 + np.exp(-(odds[level, context] + effect[image] + scores)))
    successes = rng.binomial(trials, truth)
    twice = [np.concatenate([part, part]) for part in (level, context, image, scores)]
    label = np.repeat([1.0, 0.0], len(image))
    weight = np.concatenate([successes, trials - successes]).astype(float)
    embedding = np.tile(np.arange(len(image)), 2)
    return History(embedding, twice[0], twice[1], twice[2], twice[3], label, weight)


def fit(history):
    design = Design.of(AUGMENTATIONS, COLUMNS, CONTEXTS)
    return fit_effects(design, CONTEXTS, history, np.random.default_rng(0))


def cells(fitted):
    """Return draws of the log odds of every augmentation and campaign, (M, A, C)."""
    posterior = fitted.posterior(np.zeros(fitted.effects.shape[1]), np.array([3, 0, 999_999]))
    zeros = np.zeros(AUGMENTATIONS, np.float32)
    level = np.arange(AUGMENTATIONS)
    return np.stack(
        [posterior.log_odds(level, context, zeros, zeros) for context in CONTEXTS], axis=2
    )


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


def test_the_deviation_of_images_is_learned_and_widens_only_what_it_should():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.4)
    plain, varied = fit(simulate(odds)), fit(simulate(odds, deviation=0.7))
    assert plain.deviation.mean() < 0.25
    assert varied.deviation.mean() == pytest.approx(0.7, abs=0.15)
    widths = []
    for fitted in (plain, varied):
        differences = cells(fitted)[:, 1] - cells(fitted)[:, 0]
        widths.append(differences.std(axis=0).mean())
    assert widths[1] < 2 * widths[0]


def test_the_effects_of_images_with_outcomes_are_learned():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.4)
    history = simulate(odds, deviation=1.0, trials=50, originals=60)
    fitted = fit(history)
    rng = np.random.default_rng(0)
    rng.integers(CAMPAIGNS, size=60 * 24)
    effect = rng.normal(0, 1.0, 60)
    found = fitted.known.mean
    assert fitted.images.tolist() == list(range(60))
    assert np.corrcoef(found, effect)[0, 1] > 0.98
    assert fitted.known.deviation.mean() < 0.2
    catalogue = fitted.posterior(np.zeros(fitted.effects.shape[1]), np.array([5, 77, 2])).catalogue
    assert catalogue.mean.tolist() == [found[5], 0, found[2]]
    assert np.isnan(catalogue.deviation).tolist() == [False, True, False]
    assert np.isnan(catalogue.score).tolist() == [False, True, False]


def test_a_score_of_the_image_is_used_and_one_of_the_versions_is_not():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -0.5)

    def by_image(rng, image, level):
        return rng.normal(0, 1.0, image.max() + 1)[image]

    fitted = fit(simulate(odds, score=by_image))
    assert fitted.slopes[:, 0].mean() == pytest.approx(1.0, abs=0.2)
    history = simulate(odds)
    noise = np.random.default_rng(1).normal(size=len(history.score) // 2)
    spurious = History(**{**vars(history), "score": np.tile(noise, 2)})
    fitted = fit(spurious)
    assert np.abs(fitted.slopes[:, 1]).mean() < 0.15


def test_counts_are_the_same_as_single_outcomes_and_rows_without_outcomes_do_not_count():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    history = simulate(odds, trials=40, originals=30)
    counts = gibbs.Counts.of(history, history.image)
    assert counts.trials.sum() == 30 * 24 * 40
    assert counts.successes.sum() == history.weight[history.label == 1].sum()
    assert len(counts.trials) == 30 * 24
    assert (counts.trials > 0).all()


@pytest.mark.parametrize("odds", [0.0, 0.7, -6.0])
def test_many_trials_have_the_moments_of_polya_gamma(odds):
    from polyagamma import random_polyagamma

    rng, count = np.random.default_rng(0), 40_000
    trials = np.full(count, 40.0)
    drawn = gibbs.polya_gamma(trials, np.full(count, odds), rng)
    exact = random_polyagamma(40.0, odds, size=count, random_state=rng)
    assert drawn.mean() == pytest.approx(exact.mean(), rel=0.01)
    assert drawn.std() == pytest.approx(exact.std(), rel=0.03)


def test_the_projection_leaves_nothing_that_augmentation_and_context_explain():
    design = Design.of(AUGMENTATIONS, COLUMNS, CONTEXTS)
    rng = np.random.default_rng(0)
    level, context = rng.integers(AUGMENTATIONS, size=500), rng.integers(CAMPAIGNS, size=500)
    margin = rng.normal(size=(AUGMENTATIONS, CAMPAIGNS))[level, context]
    rows = design.matrix(level, CONTEXTS[context])
    rest = margin - rows @ project(rows, np.ones(500), margin)
    assert np.abs(rest).max() < 0.01


def test_wide_context_is_left_to_xgboost(monkeypatch):
    monkeypatch.setattr(design_module, "MAX_EFFECTS", 6 + 2 * 7 + 40)
    columns = (
        CategoricalColumn(name="wide", values=tuple(map(str, range(39)))),
        CategoricalColumn(name="narrow", values=("x", "y")),
    )
    contexts = np.eye(41, dtype=np.float32)
    design = Design.of(6, columns, contexts)
    assert [len(group) for group in design.groups] == [6, 2, 12, 39]
    assert len(design.active) == 1 + 6 + 2 + 12 + 39
    assert design.matrix(np.array([1]), contexts[:1]).shape == (1, len(design.active))


def test_numbers_are_standardised():
    columns = (NumericColumn(name="spend", low=0, high=100),)
    contexts = np.array([[0.0], [100.0]], np.float32)
    design = Design.of(2, columns, contexts)
    assert (design.center.tolist(), design.scale.tolist()) == ([50.0], [50.0])
    rows = design.matrix(np.array([0, 1]), contexts).toarray()
    assert rows.tolist() == [[1, 1, 0, -1, -1, 0], [1, 0, 1, 1, 0, 1]]
