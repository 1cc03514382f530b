"""Pairs of images, and how often a ranking is right, with its interval."""

from itertools import combinations

import numpy as np
import pytest

from training.common.ranking import Pairs, draw_pairs, ranking_figures


@pytest.mark.parametrize("sizes", [(5,), (6,), (2, 3, 1), (17, 4)])
def test_of_a_few_images_all_pairs_are_drawn_once(sizes):
    owner = np.repeat(np.arange(len(sizes)), sizes)
    score = np.random.default_rng(0).normal(size=len(owner))
    pairs = draw_pairs(score, owner, seed=1)
    found = sorted(tuple(sorted(pair)) for pair in zip(pairs.higher, pairs.lower, strict=True))
    expected = [
        (one, other)
        for one, other in combinations(range(len(owner)), 2)
        if owner[one] == owner[other]
    ]
    assert found == expected
    assert (score[pairs.higher] > score[pairs.lower]).all()


def test_of_many_images_each_has_as_many_partners():
    pairs = draw_pairs(np.arange(1000.0), np.zeros(1000, np.int64), seed=0, partners=4)
    assert len(pairs) == 4000
    ends = np.bincount(np.concatenate([pairs.higher, pairs.lower]))
    assert set(ends.tolist()) == {8}
    again = draw_pairs(np.arange(1000.0), np.zeros(1000, np.int64), seed=0, partners=4)
    assert (again.higher == pairs.higher).all()


def test_equal_and_unknown_scores_make_no_pair():
    score = np.array([1.0, 1.0, np.nan, 2.0])
    pairs = draw_pairs(score, np.zeros(4, np.int64), seed=0)
    assert sorted(pairs.lower.tolist()) == [0, 1]
    assert pairs.higher.tolist() == [3, 3]


def test_figures_of_known_pairs():
    pairs = Pairs(np.array([1, 2, 3]), np.array([0, 0, 2]))
    score = np.array([0.0, 1.0, 0.0, -1.0])  # right, a tie, wrong
    figures = ranking_figures(score, pairs, np.array([0, 1, 2, 3]))
    # Every image counts the same: image 0 has two pairs, the others one or two.
    assert pairs.weight() == pytest.approx([0.75, 0.5, 0.75])
    assert figures.pair_accuracy == pytest.approx((0.75 + 0.25) / 2)
    losses = [np.log1p(np.exp(-1)), np.log(2), np.log1p(np.e)]
    assert figures.log_loss == pytest.approx(np.average(losses, weights=[3, 2, 3]))
    by_image = pairs.mean_by_image(pairs.correct(score), 5)
    assert by_image[:4] == pytest.approx([0.75, 1, 0.25, 0])
    assert np.isnan(by_image[4])


def uploads(
    seed: int, groups: int = 150, sizes: tuple[int, ...] = (4,)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true scores, a ranking that helps in some groups and hurts in others, and groups."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), np.resize(sizes, groups))
    true = rng.normal(size=len(group))
    helps = np.where(rng.random(groups) < 0.7, 1.0, -0.6)[group]
    return true, true * helps + rng.normal(size=len(group)), group


@pytest.mark.parametrize(
    ("groups", "sizes"), [(150, (4,)), (33, (40, *[2] * 10)), (60, (1, 2, 3, 30))]
)
def test_the_interval_of_grouped_pairs_holds_the_expected_share(groups, sizes):
    true, score, group = uploads(99, 9999, sizes)
    pairs = draw_pairs(true, group, 0)
    expected = pairs.mean(pairs.correct(score))
    held = 0
    for seed in range(60):
        true, score, group = uploads(seed, groups, sizes)
        figures = ranking_figures(score, draw_pairs(true, group, seed), group)
        low, high = figures.pair_accuracy_interval_95
        held += low <= expected <= high
    assert held >= 52  # of 60; 95 % are 57


def test_groups_without_a_pair_do_not_make_an_interval_narrow():
    true, score, group = uploads(5, 1, (20,))
    alone = ranking_figures(score, draw_pairs(true, group, 0), group).pair_accuracy_interval_95
    many = np.arange(1, 1000)
    true, score = np.r_[true, many.astype(float)], np.r_[score, np.zeros(999)]
    group = np.r_[group, many]
    beside = ranking_figures(score, draw_pairs(true, group, 0), group).pair_accuracy_interval_95
    assert beside == pytest.approx(alone)
    assert alone[1] - alone[0] > 0.7  # of one uploader nothing is known


def test_an_equal_share_in_all_groups_is_not_taken_for_certainty():
    pairs = Pairs(np.arange(1, 600, 2), np.arange(0, 600, 2))
    score = np.zeros(600)
    score[pairs.higher] = np.where(np.arange(300) % 10 < 3, 1.0, -1.0)  # 30 % in each group
    figures = ranking_figures(score, pairs, np.arange(600) // 20)
    low, high = figures.pair_accuracy_interval_95
    assert figures.pair_accuracy == pytest.approx(0.3)
    assert high - low > 0.25  # as of 30 groups


def test_chance_is_told_from_chance():
    rng, low = np.random.default_rng(0), 0
    for seed in range(100):
        true, score = rng.normal(size=(2, 200))
        group = np.repeat(np.arange(50), 4)
        low += ranking_figures(score, draw_pairs(true, group, seed), group).p_value < 0.05
    assert low <= 10
    true, score, group = uploads(3)
    assert ranking_figures(score, draw_pairs(true, group, 3), group).p_value < 0.01
