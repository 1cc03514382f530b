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
    assert figures.pair_accuracy == pytest.approx(0.5)
    assert figures.log_loss == pytest.approx(
        np.mean([np.log1p(np.exp(-1)), np.log(2), np.log1p(np.e)])
    )
    assert pairs.mean_by_image(pairs.correct(score), 5) == pytest.approx([0.75, 1, 0.25, 0, 0])


def uploads(seed: int, groups: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true scores, a ranking that helps in some groups and hurts in others, and groups."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), 4)
    true = rng.normal(size=len(group))
    helps = np.where(rng.random(groups) < 0.7, 1.0, -0.6)[group]
    return true, true * helps + rng.normal(size=len(group)), group


def test_the_interval_of_grouped_pairs_holds_the_expected_share():
    true, score, group = uploads(99, 20_000)
    expected = draw_pairs(true, group, 0).correct(score).mean()
    held = 0
    for seed in range(60):
        true, score, group = uploads(seed)
        figures = ranking_figures(score, draw_pairs(true, group, seed), group)
        low, high = figures.pair_accuracy_interval_95
        held += low <= expected <= high
    assert held >= 53  # of 60; 95 % are 57


def test_chance_is_told_from_chance():
    rng, low = np.random.default_rng(0), 0
    for seed in range(100):
        true, score = rng.normal(size=(2, 200))
        group = np.repeat(np.arange(50), 4)
        low += ranking_figures(score, draw_pairs(true, group, seed), group).p_value < 0.05
    assert low <= 10
    true, score, group = uploads(3)
    assert ranking_figures(score, draw_pairs(true, group, 3), group).p_value < 0.01
