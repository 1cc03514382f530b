"""The truths of the simulated worlds."""

import numpy as np
import pytest

from benchmarks.trust.history import simulate_history
from benchmarks.trust.worlds import (
    CATALOGUE,
    LIFTED,
    ROWS_PER_ORIGINAL,
    VERSIONS,
    WORLDS,
    Population,
    World,
    ample_trials,
    cases,
)
from simulation.engagement import CAMPAIGN_TYPES, probability_table

BY_NAME = {world.name: world for world in WORLDS}


def made(name: str, images: int = 18) -> tuple[World, Population]:
    world = BY_NAME[name]
    return world, Population.draw(world, world.originals + images, np.random.default_rng(0))


def truths(name: str) -> np.ndarray:
    """The truth of every decision's options, (decisions, options)."""
    return np.array([case.truth for case in cases(*made(name), 18)])


def test_every_world_of_the_issue_is_there():
    assert {f"{rule}-{count}" for rule in ("nothing", "seed", "context") for count in
            (44, 200, 1000)} <= BY_NAME.keys()  # fmt: skip
    assert {"image", "nothing-images", "normal"} <= BY_NAME.keys()
    for rate in ("0.002", "0.025", "0.2"):
        assert BY_NAME[f"rate-{rate}"].image_deviation == 0
        assert BY_NAME[f"rate-{rate}-images"].image_deviation == 0.7
    assert all(BY_NAME[name].originals == CATALOGUE for name in BY_NAME if "alternates" in name)


def test_where_nothing_helps_every_option_is_alike():
    assert np.allclose(truths("nothing-44"), 0.2)
    differing = truths("nothing-images")
    assert np.all(differing == differing[:, :1])
    assert differing.std() > 0.05


def test_the_seed_rule_is_that_of_the_simulation():
    table = probability_table(VERSIONS, "seed", "maximize")[:, 0]
    assert np.allclose(truths("seed-44"), table[np.arange(18) % len(CAMPAIGN_TYPES)])


def test_each_campaign_type_has_one_best_version():
    truth = truths("context-44")
    best = np.arange(18) % len(CAMPAIGN_TYPES) % len(VERSIONS)
    assert np.array_equal(truth.argmax(axis=1), best)
    assert np.allclose(np.sort(truth), [0.2] * 5 + [0.8])


@pytest.mark.parametrize("rate", [0.002, 0.025, 0.2])
def test_one_version_lifts_the_rate_by_a_fifth(rate):
    truth = truths(f"rate-{rate:g}")
    expected = np.full(len(VERSIONS), rate)
    expected[LIFTED] *= 1.2
    assert np.allclose(truth, expected)
    with_images = truths(f"rate-{rate:g}-images")
    odds = np.log(with_images / (1 - with_images))
    gain = odds - odds[:, :1]
    assert np.allclose(gain[:, LIFTED], gain[0, LIFTED])
    assert np.allclose(np.delete(gain, LIFTED, axis=1), 0)


def test_ample_data_let_a_fixed_test_find_the_lift():
    rng, rate, originals = np.random.default_rng(0), 0.025, 200
    sends = ample_trials(rate, originals) * originals * ROWS_PER_ORIGINAL // len(VERSIONS)
    plain = rng.binomial(sends, rate, 4000) / sends
    lifted = rng.binomial(sends, 1.2 * rate, 4000) / sends
    error = np.sqrt((plain * (1 - plain) + lifted * (1 - lifted)) / sends)
    found = (lifted - plain) / error > 2.326  # one-sided 5 %, divided among five
    assert 0.98 < found.mean() < 1


def test_the_image_decides_by_its_features():
    world, population = made("image", 200)
    truth = np.array([case.truth for case in cases(world, population, 200)])
    assert np.all(truth == truth[:, :1])
    assert np.allclose(np.sort(np.unique(truth.round(9))), [0.2, 0.8])
    # A linear model of the features, without augmentation, tells most of them apart.
    features = population.features[:, 0].astype(float)
    side = np.where(population.seen[:, 0] > 0, 1.0, -1.0)
    fitted = features @ np.linalg.lstsq(features, side, rcond=None)[0]
    assert np.mean(np.sign(fitted) == side) > 0.85
    assert not population.unseen.any()


def test_effects_of_the_normal_world_differ_between_histories():
    world = BY_NAME["normal"]
    one, other = (world.table(np.random.default_rng(seed)) for seed in (0, 1))
    assert not np.allclose(one, other)
    assert len(np.unique(one)) == len(CAMPAIGN_TYPES) * len(VERSIONS)


def test_alternates_are_the_unchanged_originals_of_the_catalogue():
    world, population = made("alternates-features")
    case = cases(world, population, 18)[3]
    assert len(case.truth) == 1 + CATALOGUE
    assert not case.rows.augmentation.any()
    assert np.array_equal(case.rows.features[1:], population.features[:CATALOGUE, 0])
    assert np.array_equal(case.rows.features[0], population.features[CATALOGUE + 3, 0])
    odds = np.log(0.35 / 0.65) + population.seen[:, 0]
    assert np.allclose(case.truth[1:], 1 / (1 + np.exp(-odds[:CATALOGUE])))
    assert np.allclose(truths("alternates-same"), 0.2)


def test_the_request_of_a_known_world_is_one_of_the_catalogue():
    world, population = made("alternates-known")
    made_cases = cases(world, population, 18)
    assert [case.known for case in made_cases[:3]] == [0, 12, 24]
    case = made_cases[2]
    assert len(case.truth) == CATALOGUE
    assert np.array_equal(case.rows.features[0], population.features[24, 0])
    others = np.delete(np.arange(CATALOGUE), 24)
    assert np.array_equal(case.rows.features[1:], population.features[others, 0])


def test_features_show_which_images_a_version_helps():
    world, population = made("look", 200)
    truth = np.array([case.truth for case in cases(world, population, 200)])
    gain = truth - truth[:, :1]
    assert np.allclose(np.delete(gain, LIFTED, axis=1), 0)
    assert 0.3 < np.mean(gain[:, LIFTED] > 0.1) < 0.7
    assert np.all(np.abs(gain[:, LIFTED]) > 0.1)


def test_versions_differ_from_image_to_image_as_nothing_shows():
    world, population = made("versions-images", 200)
    gain = population.unseen - population.unseen[:, :1]
    assert gain[:, 1:].std() == pytest.approx(0.4 * 2**0.5, rel=0.1)
    case = cases(world, population, 200)[0]
    assert np.allclose(case.expected, case.expected[0])


def test_the_expected_truth_leaves_out_what_nothing_shows():
    world, population = made("alternates-images")
    case = cases(world, population, 18)[0]
    assert np.allclose(case.expected, 0.2)
    assert case.truth.std() > 0.05


def test_a_history_has_outcomes_of_the_truth():
    world, population = made("rate-0.2")
    history = simulate_history(world, population, np.random.default_rng(1))
    rows = history.every.rows
    assert rows.weight.sum() == 200 * ROWS_PER_ORIGINAL * world.trials
    for version, rate in ((0, 0.2), (LIFTED, 0.24)):
        inside = rows.augmentation == version
        observed = np.average(rows.label[inside], weights=rows.weight[inside])
        assert observed == pytest.approx(rate, abs=0.02)
        assert np.allclose(rows.truth[inside], rate)
    assert np.array_equal(rows.embedding, rows.original * len(VERSIONS) + rows.augmentation)
    sizes = {name: len(np.unique(part.original)) for name, part in history.parts.items()}
    assert sizes == {"train": 130, "validation": 30, "test": 40}
