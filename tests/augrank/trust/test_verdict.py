import numpy as np
import pytest

from augrank.trust.planner import sends_per_version
from augrank.trust.verdict import _experiment, decide, interval


def draws(rng, means, deviation, count=4000, base=0.2):
    """Return draws of options and of the reference, all independent."""
    options = np.stack([rng.normal(mean, deviation, count) for mean in means], axis=1)
    return options, rng.normal(base, deviation, count)


def test_an_interval_holds_nine_of_ten_further_draws():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        low, high = interval(rng.normal(size=(200, 50)))
        new = rng.normal(size=50)
        held.append(np.mean((low <= new) & (new <= high)))
    assert np.mean(held) == pytest.approx(0.9, abs=0.01)


def test_a_sure_gain_is_a_change_to_the_best_option():
    rng = np.random.default_rng(0)
    options, reference = draws(rng, (0.21, 0.4, 0.5), 0.01)
    decision = decide(options, reference, "maximize")
    assert (decision.kind, decision.option) == ("change", 2)
    assert decision.better.tolist() == [False, True, True]
    lower = decide(options, reference, "minimize")
    assert (lower.kind, lower.option) == ("keep", None)


def test_for_a_target_to_minimise_lower_is_better():
    rng = np.random.default_rng(0)
    options, reference = draws(rng, (0.1, 0.19), 0.005)
    decision = decide(options, reference, "minimize")
    assert (decision.kind, decision.option) == ("change", 0)


def test_a_gain_below_the_minimum_lift_is_no_change():
    rng = np.random.default_rng(0)
    options, reference = draws(rng, (0.3,), 0.005)  # a lift of 50 %
    assert decide(options, reference, "maximize", min_lift=0.3).kind == "change"
    assert decide(options, reference, "maximize", min_lift=0.7).kind == "keep"


def test_wide_draws_are_unsure_and_say_how_many_sends_it_takes():
    rng = np.random.default_rng(0)
    options, reference = draws(rng, (0.24, 0.2), 0.05)
    decision = decide(options, reference, "maximize")
    assert decision.kind == "unsure"
    assert decision.lift == pytest.approx(0.2, abs=0.02)
    assert decision.sends == pytest.approx(1_683, rel=0.2)


def test_the_experiment_of_a_minimum_lift_tells_what_exceeds_it():
    rng = np.random.default_rng(0)
    options, reference = draws(rng, (0.24,), 0.05)
    plain = decide(options, reference, "maximize")
    more = decide(options, reference, "maximize", min_lift=0.15)
    assert more.lift == pytest.approx(0.25, abs=0.01)  # 10 % beyond the minimum
    assert more.sends > 2 * plain.sends


def test_near_certainty_the_experiment_tells_half_of_what_is_possible():
    """No lift of 10 % is possible from 95 %; one to 97.5 % is."""
    sends, lift = _experiment(0.95, 1.0, 0.0, 0.01)
    assert lift == pytest.approx(0.025 / 0.95, abs=1e-4)
    assert sends == sends_per_version(0.95, 0.975)
    sends, lift = _experiment(0.001, -1.0, 0.95, 0.0)  # less than nothing is impossible, too
    assert (sends, lift) == (sends_per_version(0.001, 0.000025, 0.05), 0.975)


def test_narrow_draws_without_a_gain_are_keep():
    rng = np.random.default_rng(0)
    options, reference = draws(rng, (0.2, 0.201, 0.15), 0.002)
    decision = decide(options, reference, "maximize")
    assert (decision.kind, decision.option, decision.lift) == ("keep", None, 0.1)


def test_no_option_is_keep():
    assert decide(np.empty((10, 0)), np.full(10, 0.2), "maximize").kind == "keep"


@pytest.mark.parametrize("options", [5, 219])
def test_where_nothing_helps_a_change_is_rare_however_many_options(options):
    """Estimates scatter around equal truths: the best of many looks better, and must not win."""
    rng = np.random.default_rng(1)
    changes = naive = 0
    for _ in range(300):
        estimate = rng.normal(0.2, 0.01, options + 1)
        drawn = estimate + rng.normal(0, 0.01, (400, options + 1))
        decision = decide(drawn[:, 1:], drawn[:, 0], "maximize")
        changes += decision.kind == "change"
        naive += estimate[1:].max() > estimate[0]
    assert changes <= 0.07 * 300
    assert naive >= 0.75 * 300


def test_a_probability_of_zero_has_no_sends():
    zeros = np.zeros((50, 2))
    decision = decide(zeros, zeros[:, 0], "maximize")
    assert (decision.kind, decision.sends) == ("unsure", None)


def test_the_spread_of_the_image_does_not_hide_a_sure_gain():
    """The image's effect moves both probabilities; their order is certain in every draw."""
    rng = np.random.default_rng(0)
    image = rng.normal(-1.4, 1.0, 4000)
    gain = rng.normal(0.25, 0.06, 4000)
    probability = [1 / (1 + np.exp(-odds)) for odds in (image, image + gain)]
    decision = decide(probability[1][:, None], probability[0], "maximize")
    assert (decision.kind, decision.option) == ("change", 0)
