"""The methods, on one small history."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.trust import methods
from benchmarks.trust.history import fit, simulate_history
from benchmarks.trust.methods import (
    EnsembleMethod,
    NaiveMethod,
    PosteriorMethod,
    booster_options,
    judged_draws,
)
from benchmarks.trust.worlds import Population, World, cases

WORLD = World("small", "two versions convert", 40, "seed")


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    population = Population.draw(WORLD, 49, rng)
    history = simulate_history(WORLD, population, rng)
    return history, fit(history, 0), cases(WORLD, population, 9)


def test_all_methods_find_what_two_versions_gain(small, monkeypatch):
    history, fitted, decisions = small
    monkeypatch.setattr(methods, "BOOTSTRAPS", 4)
    made = (
        PosteriorMethod(fitted, "candidates"),
        NaiveMethod(fitted),
        EnsembleMethod.fit(fitted, history, 0),
    )
    for method, error in zip(made, (0.15, 0.3, 0.3), strict=True):
        for case in decisions:
            judged = method.judge(case)
            assert case.truth[judged.chosen] == pytest.approx(0.8)
            assert judged.probability == pytest.approx(case.truth, abs=error)
    ours, naive, ensemble = made
    assert ours.added_ms > 0
    assert ours.added_bytes > 10_000
    assert (naive.added_ms, naive.added_bytes) == (0, 0)
    assert not naive.judge(decisions[0]).interval.size
    assert ensemble.added_bytes == pytest.approx(3 * len(fitted.booster.save_raw("ubj")), rel=0.3)


def test_another_booster_is_trained_like_the_heads(small):
    _, fitted, _ = small
    options = booster_options(fitted)
    assert options.names == fitted.spec.inputs
    assert options.rounds == fitted.trees
    wanted = {"max_depth": 4, "eta": 0.1, "min_child_weight": 4, "subsample": 0.8}
    for name, value in wanted.items():
        assert float(options.parameters[name]) == pytest.approx(value)
    assert options.parameters["objective"] == "binary:logistic"
    json.dumps(dict(options.parameters))


def test_alternates_are_judged_against_the_image_of_the_request(small):
    _, fitted, _ = small
    population = Population.draw(WORLD, 49, np.random.default_rng(0))
    (case, *_) = cases(replace(WORLD, options="alternates"), population, 9)
    judged = PosteriorMethod(fitted, "alternates").judge(case)
    assert len(judged.probability) == len(case.truth) == 1 + WORLD.originals
    assert len(judged.better) == WORLD.originals
    assert not judged.better.any()  # unchanged images are all alike


def test_draws_are_judged_as_a_server_does(small):
    _, _, decisions = small
    case = decisions[0]
    rng = np.random.default_rng(0)
    draws = np.tile(case.truth, (200, 1)) + 0.01 * rng.normal(size=(200, len(case.truth)))
    judged = judged_draws(draws, case)
    assert case.truth[judged.chosen] == pytest.approx(0.8)
    assert judged.better.tolist() == (case.truth[1:] > 0.5).tolist()
    assert judged.covered.all()
    assert not judged.unsure
