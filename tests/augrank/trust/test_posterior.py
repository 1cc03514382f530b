from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from augrank.errors import BundleError
from augrank.trust.posterior import (
    FACTORS,
    FIRST_VERSION,
    Effects,
    ImageEffects,
    Posterior,
    standard_normal,
)
from tests.support.tiny_run import make_posterior

AUGMENTATIONS, WIDTH, DRAWS = 3, 4, 50


@pytest.fixture
def posterior():
    return make_posterior(AUGMENTATIONS, WIDTH, np.random.default_rng(0), draws=DRAWS)


def test_effects_are_the_sum_of_their_parts():
    rng = np.random.default_rng(0)
    effects = Effects(
        rng.normal(size=DRAWS),
        rng.normal(size=(DRAWS, AUGMENTATIONS)),
        rng.normal(size=(DRAWS, WIDTH)),
        rng.normal(size=(DRAWS, AUGMENTATIONS, WIDTH)),
    )
    level, context = np.array([2, 0, 1, 2]), rng.normal(size=(4, WIDTH))
    want = [
        [
            effects.intercept[m]
            + effects.augmentation[m, a]
            + effects.context[m] @ x
            + effects.interaction[m, a] @ x
            for a, x in zip(level, context, strict=True)
        ]
        for m in range(DRAWS)
    ]
    np.testing.assert_allclose(effects(level, context), want, rtol=1e-6)
    one = effects(level, context[1])
    np.testing.assert_allclose(one, effects(level, np.tile(context[1], (4, 1))), rtol=1e-6)


def test_the_score_is_what_the_projection_leaves(posterior):
    margin, level = np.array([1.0, 2.0], np.float32), np.array([0, 1])
    context = np.ones(WIDTH, np.float32)
    assert posterior.score(margin, level, context).tolist() == [1.0, 2.0]  # it projects to zero


UNCHANGED = np.zeros(30, np.int64)


def test_an_image_without_outcomes_is_less_certain_than_one_with(posterior):
    effects = replace(
        ImageEffects.unknown(2),
        mean=np.array([0.5, 0], np.float32),
        deviation=np.array([0.01, np.nan], np.float32),
    )
    drawn = posterior.image_effects(effects, np.arange(2), UNCHANGED[:2])
    assert drawn.shape == (DRAWS, 2)
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.01)
    assert drawn[:, 0].std() < 0.02 < drawn[:, 1].std()
    assert np.isfinite(drawn).all()


def test_the_effect_of_an_image_with_outcomes_follows_the_factors(posterior):
    rng = np.random.default_rng(0)
    varied = replace(posterior, factors=rng.normal(size=posterior.factors.shape).astype("f4"))
    loading = np.zeros((1, FACTORS), np.float32)
    loading[0, 3] = -2
    one = np.ones(1, np.float32)
    effects = replace(ImageEffects.unknown(1), mean=one, deviation=0 * one, loading=loading)
    drawn = varied.image_effects(effects, np.zeros(1, int), UNCHANGED[:1])
    np.testing.assert_allclose(drawn[:, 0], 1 - 2 * varied.factors[:, 3], rtol=1e-5)


def test_images_have_other_draws_and_the_same_answer_every_time(posterior):
    unknown, numbers = ImageEffects.unknown(30), np.arange(30)
    drawn = posterior.image_effects(unknown, numbers, UNCHANGED)
    np.testing.assert_array_equal(drawn, posterior.image_effects(unknown, numbers, UNCHANGED))
    correlation = np.corrcoef(drawn.T)[0, 1:]
    assert np.abs(correlation).mean() < 0.2
    later = posterior.image_effects(ImageEffects.unknown(1), np.array([5]), UNCHANGED[:1])
    np.testing.assert_array_equal(later[:, 0], drawn[:, 5])
    far = posterior.image_effects(ImageEffects.unknown(2), np.array([5, 10_000]), UNCHANGED[:2])
    np.testing.assert_allclose(far[:, 0], drawn[:, 5], rtol=1e-6)


def test_rows_of_one_image_and_of_one_version_share_their_effects(posterior):
    deviation = np.full((DRAWS, AUGMENTATIONS), 0.3, np.float32)
    varied = replace(posterior, version_deviation=deviation)
    images, versions = np.array([7, 7, 2, 7]), np.array([5, 1, 5, 5])
    drawn = varied.new_effects(images, versions, np.array([2, 0, 2, 2]))
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 3])
    one = varied.image_effects(ImageEffects.unknown(1), np.array([7]), UNCHANGED[:1])[:, 0]
    own = varied.version_effects(np.array([7]), UNCHANGED[:1])[:, 0]
    of_version = varied.version_effects(np.array([5]), np.array([2]))[:, 0]
    np.testing.assert_allclose(drawn[:, 0], one - own + of_version, atol=1e-6)


def test_a_saved_posterior_is_the_same_within_half_precision(posterior, tmp_path):
    file = tmp_path / "head.npz"
    posterior.save(file)
    loaded = Posterior.load(file)
    np.testing.assert_array_equal(loaded.deviation, posterior.deviation)
    level, context = np.array([0, 2]), np.ones(WIDTH, np.float32)
    zeros = np.zeros(2, np.float32)
    np.testing.assert_allclose(
        loaded.log_odds(level, context, zeros, zeros),
        posterior.log_odds(level, context, zeros, zeros),
        atol=2e-3,
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"not an npz"])
def test_a_damaged_file_is_refused(content, tmp_path):
    file = tmp_path / "head.npz"
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"head\.npz cannot be read"):
        Posterior.load(file)


def test_a_file_that_lacks_a_part_or_has_a_pickle_is_refused(tmp_path):
    file = tmp_path / "head.npz"
    np.savez(file, deviation=np.zeros(3))
    with pytest.raises(BundleError, match="cannot be read"):
        Posterior.load(file)
    np.savez(file, deviation=np.array([object()]))
    with pytest.raises(BundleError, match="cannot be read"):
        Posterior.load(file)


def test_versions_have_the_deviation_of_their_augmentation(posterior):
    deviation = np.tile(np.array([0, 0.5, 1], np.float32), (DRAWS, 1))
    varied = replace(posterior, version_deviation=deviation)
    drawn = varied.version_effects(np.arange(4), np.array([0, 1, 2, 1]))
    assert drawn.std(axis=0) == pytest.approx([0, 0.5, 1, 0.5], abs=1e-5)
    images = posterior.image_effects(ImageEffects.unknown(4), np.arange(4), UNCHANGED[:4])
    assert np.abs(np.corrcoef(drawn[:, 1:].T, images.T)[:3, 3:]).max() < 0.5


def test_no_two_images_or_versions_share_their_draws():
    numbers = np.concatenate([np.arange(1001), FIRST_VERSION + np.arange(1001)])
    drawn = standard_normal(numbers, 200)
    assert drawn.mean(axis=0) == pytest.approx(np.zeros(2002), abs=1e-5)
    assert drawn.std(axis=0) == pytest.approx(np.ones(2002), abs=1e-5)
    correlation = np.corrcoef(drawn.T)[np.triu_indices(2002, 1)]
    assert np.abs(correlation).max() < 0.5
    assert correlation.std() == pytest.approx(200**-0.5, rel=0.05)
    assert kstest(drawn.ravel(), "norm").statistic < 0.005


def test_draws_are_the_same_everywhere():
    drawn = standard_normal(np.array([0, 3, 2**40]), 200)
    np.testing.assert_allclose(drawn[0], [-0.413745, -0.927816, 0.020346], atol=1e-5)
    few = standard_normal(np.array([5]), 200)
    np.testing.assert_array_equal(standard_normal(np.arange(9), 200)[:, 5], few[:, 0])


def test_an_effect_beyond_half_precision_is_saved_as_a_finite_number(posterior, tmp_path):
    huge = replace(posterior.effects, augmentation=posterior.effects.augmentation * 1e9)
    replace(posterior, effects=huge).save(tmp_path / "head.npz")
    loaded = Posterior.load(tmp_path / "head.npz")
    assert np.isfinite(loaded.effects.augmentation).all()
    assert np.abs(loaded.effects.augmentation).max() == 30
