from dataclasses import replace

import numpy as np
import pytest

from augrank.models.context import CategoricalColumn, NumericColumn
from augrank.trust.posterior import ImageEffects
from training.heads.posterior import design as design_module
from training.heads.posterior import groups, nested_effects
from training.heads.posterior.design import Design, History
from training.heads.posterior.likelihood import Counts
from training.heads.posterior.mixed_effects import fit_effects
from training.heads.posterior.version_mean import ImageMeans

AUGMENTATIONS, CAMPAIGNS = 6, 5
COLUMNS = (CategoricalColumn(name="campaign", values=tuple("abcde")),)
CONTEXTS = np.eye(CAMPAIGNS, dtype=np.float32)


def simulate(odds, seed=0, originals=150, deviation=0.0, score=None, trials=1, of_versions=0.0):
    """Return a history of 24 rows for each original, its versions in turn."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(originals), 24)
    level = np.tile(np.arange(24) % AUGMENTATIONS, originals)
    context = rng.integers(CAMPAIGNS, size=len(image))
    effect = rng.normal(0, deviation, originals)
    scores = np.zeros(len(image)) if score is None else score(rng, image)
    embedding = image * AUGMENTATIONS + level
    version_effect = rng.normal(0, of_versions, originals * AUGMENTATIONS)[embedding]
    truth = 1 / (1 + np.exp(-(odds[level, context] + effect[image] + version_effect + scores)))
    successes = rng.binomial(trials, truth)
    zeros = np.zeros(len(image))
    parts = (embedding, level, context, image, scores, zeros, zeros)
    twice = [np.concatenate([part, part]) for part in parts]
    label = np.repeat([1.0, 0.0], len(image))
    weight = np.concatenate([successes, trials - successes]).astype(float)
    return History(*twice, label, weight)


def fit(history, seed=0, unchanged=None):
    design = Design.of(AUGMENTATIONS, COLUMNS, CONTEXTS)
    return fit_effects(design, CONTEXTS, history, np.random.default_rng(seed), unchanged)


def with_version_scores(history, image_score, version_score):
    """Return the history with scores, and with the mean of the versions' by image."""
    scores, changed = (image_score, version_score), history.level > 0
    means = ImageMeans.of(history.image, changed, history.weight, scores)
    return replace(
        history,
        image_score=image_score,
        version_score=version_score,
        version_mean=means.unusual(means.usual()),
    )


def posterior_of(fitted, catalogue=(), correction=0.0):
    nothing = np.zeros(fitted.effects.shape[1])
    corrections = np.full(len(fitted.images), correction)
    return fitted.posterior(nothing, corrections, np.array(catalogue, np.int64))


def cells(fitted):
    """Return draws of the log odds of every augmentation and campaign, (M, A, C)."""
    posterior = posterior_of(fitted)
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
    assert (
        np.hypot(fitted.known.deviation, np.linalg.norm(fitted.known.loading, axis=1)).max() < 0.3
    )
    catalogue = posterior_of(fitted, [5, 77, 2], correction=-0.5).catalogue
    assert catalogue.mean == pytest.approx([found[5], 0, found[2]])
    assert np.isnan(catalogue.deviation).tolist() == [False, True, False]
    assert catalogue.correction.tolist() == [-0.5, 0, -0.5]


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


def test_with_very_many_outcomes_of_few_images_their_mean_is_still_unsure():
    """Each image's probability is known to three digits; the mean over images is not."""
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    history = simulate(odds, deviation=0.7, trials=5000, originals=40)
    error = 0.7 / 40**0.5  # of the mean of 40 images
    means = []
    for seed in (0, 1):
        mean = cells(fit(history, seed)).mean(axis=(1, 2))
        means.append(mean.mean())
        assert 0.8 * error < mean.std() < 1.6 * error
    assert abs(means[0] - means[1]) < error / 3
    assert abs(means[0] + 1.0) < 3 * error


def test_versions_that_differ_from_image_to_image_widen_differences():
    """An augmentation helps some images and harms others: for a new one nothing is known."""
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    fitted = fit(simulate(odds, trials=200, originals=60, of_versions=0.5))
    assert fitted.version_deviation.mean(axis=0) == pytest.approx([0.5] * 6, abs=0.2)
    assert fitted.deviation.mean() < 0.2
    assert np.abs(cells(fitted).mean(axis=0) + 1.0).max() < 0.25
    alike = fit(simulate(odds, trials=200, originals=60))
    assert alike.version_deviation.mean() < 0.04


def test_few_outcomes_of_each_version_still_tell_that_all_deviate():
    """No augmentation has enough on its own: they share what they say."""
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    fitted = fit(simulate(odds, trials=5, originals=150, of_versions=0.5))
    assert fitted.version_deviation.mean(axis=0) == pytest.approx([0.5] * 6, abs=0.2)


def test_one_augmentation_may_deviate_alone():
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    plain = simulate(odds, trials=100, originals=60)
    varied = simulate(odds, trials=100, originals=60, of_versions=0.6)
    parts = [plain[plain.level != 2], varied[varied.level == 2]]
    fitted = fit(parts[0].joined(parts[1]))
    deviation = fitted.version_deviation.mean(axis=0)
    assert deviation[2] == pytest.approx(0.6, abs=0.2)
    assert np.delete(deviation, 2).max() < 0.1


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


def test_what_a_version_gains_by_its_score_is_said_of_known_and_of_new_images():
    """Log odds are those of the version's score, and images have no effect of their own."""
    rng = np.random.default_rng(0)
    originals, gain = 60, rng.normal(0, 1.0, (60, AUGMENTATIONS))
    gain[:, 0] = 0
    image = np.repeat(np.arange(originals), AUGMENTATIONS)
    level = np.tile(np.arange(AUGMENTATIONS), originals)
    truth = 1 / (1 + np.exp(1 - gain[image, level]))
    successes = rng.binomial(2000, truth)
    embedding = image * AUGMENTATIONS + level
    zeros = np.zeros(2 * len(image))
    history = History(*np.tile([embedding, level, 0 * level, image], 2), zeros,
                      np.tile(gain[image, level], 2), zeros,
                      np.repeat([1.0, 0.0], len(image)),
                      np.append(successes, 2000 - successes).astype(float))  # fmt: skip
    history = with_version_scores(history, history.image_score, history.version_score)
    unchanged = AUGMENTATIONS * np.arange(originals)
    fitted = fit(history, unchanged=unchanged)
    assert fitted.slopes[:, 2:].mean(axis=0) == pytest.approx([1] * 5, abs=0.1)
    assert fitted.deviation.mean() < 0.1
    posterior = posterior_of(fitted, np.arange(originals))
    zeros = np.zeros(originals, np.float32)
    new = posterior.log_odds(zeros.astype(int), CONTEXTS[0], zeros, zeros)
    known = new + posterior.image_effects(
        posterior.catalogue, np.arange(originals), zeros.astype(int)
    )
    low, high = np.quantile(known, [0.05, 0.95], axis=0)
    assert np.mean((low <= -1) & (high >= -1)) > 0.75
    assert known.mean() == pytest.approx(-1, abs=0.05)


def test_an_image_with_many_outcomes_is_known_as_well_as_its_outcomes_say():
    """Its effect is the lower, the higher the intercept of a draw: their sum is known."""
    rng = np.random.default_rng(0)
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    history = simulate(odds, deviation=0.8, trials=2000, originals=30)
    fitted = fit(history, unchanged=AUGMENTATIONS * np.arange(30))
    posterior = posterior_of(fitted, np.arange(30))
    assert cells(fitted)[:, 0, 0].std() > 0.1  # of an average image
    zeros = np.zeros(30, np.float32)
    levels = zeros.astype(int)
    base = posterior.log_odds(levels, CONTEXTS[0], zeros, zeros)
    served = base + posterior.image_effects(posterior.catalogue, np.arange(30), levels)
    rng.integers(CAMPAIGNS, size=30 * 24)
    truth = rng.normal(0, 0.8, 30) - 1
    assert served.std(axis=0).max() < 0.06
    assert served.mean(axis=0) == pytest.approx(truth, abs=0.1)


def test_an_approximation_that_starts_far_off_does_not_diverge():
    """Images around 2.5 % with a deviation of 0.7: some fits ran away before steps were bounded."""
    odds = np.full((AUGMENTATIONS, CAMPAIGNS), np.log(0.025 / 0.975))
    for seed in range(3):
        fitted = fit(simulate(odds, seed=seed, deviation=1.5, trials=60, originals=60), seed)
        assert fitted.deviation.mean() == pytest.approx(1.5, rel=0.3)
        assert fitted.version_deviation.mean() < 0.15


def test_images_whose_versions_were_never_shown_are_as_unsure_as_they_should_be():
    """The mean score of their versions is not known, and says nothing: not that it is zero."""
    covered = {"known": [], "new": []}
    originals, levels = 200, np.arange(AUGMENTATIONS)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        look, own = rng.normal(size=(2, 2 * originals))
        seen = look[:, None] + rng.normal(0, 0.7, (2 * originals, AUGMENTATIONS))
        odds = -1 + look + 0.1 * own
        image, level = (
            each.ravel() for each in np.meshgrid(np.arange(originals), levels, indexing="ij")
        )
        rare = image >= originals // 2  # only unchanged, and to few
        trials = np.where(rare, np.where(level == 0, 10, 0), 200)
        image, level, trials = (each[trials > 0] for each in (image, level, trials))
        successes = rng.binomial(trials, 1 / (1 + np.exp(-odds[image])))
        embedding, zeros = AUGMENTATIONS * image + level, np.zeros(2 * len(image))
        history = History(*np.tile([embedding, level, 0 * level, image], 2), zeros, zeros, zeros,
                          np.repeat([1.0, 0.0], len(image)),
                          np.append(successes, trials - successes).astype(float))  # fmt: skip
        score = seen[history.image, 0]
        scored = with_version_scores(history, score, seen[history.image, history.level] - score)
        assert np.isnan(scored.version_mean[history.image >= originals // 2]).all()
        fitted = fit(scored, seed, AUGMENTATIONS * np.arange(originals))
        posterior = posterior_of(fitted, np.arange(originals))
        zeros = np.zeros(2 * originals, np.float32)
        drawn = posterior.log_odds(
            zeros.astype(int), CONTEXTS[0], seen[:, 0].astype(np.float32), zeros
        )
        numbers, unknown = np.arange(originals), ImageEffects.unknown(originals)
        drawn[:, :originals] += posterior.image_effects(posterior.catalogue, numbers, 0 * numbers)
        drawn[:, originals:] += posterior.image_effects(unknown, numbers, 0 * numbers)
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        inside = (low <= odds) & (odds <= high)
        covered["known"].append(inside[originals // 2 : originals].mean())
        covered["new"].append(inside[originals:].mean())
    assert np.mean(covered["known"]) > 0.86
    assert np.mean(covered["new"]) > 0.86


@pytest.mark.parametrize("shown", [True, False])
def test_the_versions_of_a_known_image_are_as_unsure_as_its_outcomes_leave_them(shown):
    """The effect of an image contains that of its unchanged version, which others do not have."""
    originals, odds = 150, np.full((AUGMENTATIONS, CAMPAIGNS), -1.0)
    zeros, levels = np.zeros(2, np.float32), np.arange(2)
    covered, wider = [], []
    for seed in range(2, 5):
        history = simulate(odds, seed, originals, deviation=0.7, of_versions=0.5, trials=8)
        rng = np.random.default_rng(seed)
        rng.integers(CAMPAIGNS, size=24 * originals)
        effect = rng.normal(0, 0.7, originals)
        versions = rng.normal(0, 0.5, originals * AUGMENTATIONS)[1::AUGMENTATIONS]
        truth = (-1 + effect + versions)[30:]
        unseen = history.level == 1 if shown else history.level <= 1
        unseen &= history.image >= 30
        fitted = fit(history[~unseen], unchanged=AUGMENTATIONS * np.arange(originals))
        posterior = posterior_of(fitted, np.arange(originals))
        base = posterior.log_odds(levels, CONTEXTS[0], zeros, zeros)
        served = np.empty((len(truth), len(base)))
        for row, number in enumerate(range(30, originals)):
            image = posterior.catalogue[number : number + 1]
            of_image = posterior.image_effects(image, levels[:1], levels[:1])
            drawn = posterior.version_effects(levels, levels)
            unchanged = posterior.unchanged_effects(image, of_image, drawn[:, :1])
            served[row] = (base[:, 1:] + of_image + drawn[:, 1:] - unchanged)[:, 0]
        low, high = np.quantile(served, [0.05, 0.95], axis=1)
        covered.append(np.mean((low <= truth) & (truth <= high)))
        wider.append(served.std(axis=1).mean() / fitted.version_deviation[:, 1].mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.05)
    assert np.mean(wider) < 1.25
