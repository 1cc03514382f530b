"""Effects of single images and of their versions: of images that are known, and of new ones."""

import numpy as np
import pytest

from augrank.trust.posterior import ImageEffects
from tests.training.heads.posterior.effects import (
    AUGMENTATIONS,
    CAMPAIGNS,
    CONTEXTS,
    cells,
    fit,
    posterior_of,
    simulate,
    with_version_scores,
)
from training.heads.posterior.design import History


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
