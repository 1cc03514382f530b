"""The figures of hand-made answers."""

import numpy as np
import pytest

from benchmarks.trust.decision_figures import (
    Judged,
    ece_of_truths,
    figures,
    pool,
    worst_stratum,
)


def judged(
    truth: list[float],
    probability: list[float],
    *,
    width: float = 0.11,
    better: tuple[int, ...] = (),
    chosen: int = 0,
) -> Judged:
    """An answer whose intervals reach ``width`` from their estimates."""
    estimate, true = np.array(probability), np.array(truth)
    difference = estimate[1:] - estimate[0]
    flags = np.zeros(len(difference), bool)
    flags[list(better)] = True
    return Judged(
        true,
        true,
        estimate,
        np.stack([estimate - width, estimate + width]),
        np.stack([difference - width, difference + width]),
        flags,
        chosen,
        unsure=chosen == 0,
    )


def values(*decisions: Judged) -> dict[str, float | None]:
    found = figures(decisions)
    pooled = {name: pool([found], name) for name in found}
    return {name: None if each is None else each.value for name, each in pooled.items()}


RIGHT = judged([0.2, 0.2, 0.8], [0.25, 0.2, 0.75], better=(1,), chosen=2)
FALSE = judged([0.4, 0.4, 0.4], [0.35, 0.45, 0.55], better=(0, 1), chosen=2)
UNSURE = judged([0.2, 0.5, 0.2], [0.2, 0.3, 0.4])


def test_shares_of_decisions():
    found = values(RIGHT, FALSE, UNSURE)
    assert found["false_switch_rate"] == pytest.approx(1 / 3)
    assert found["power"] == pytest.approx(1 / 2)  # of the two with a better option
    assert found["unsure"] == pytest.approx(1 / 3)
    assert found["regret"] == pytest.approx((0 + 0 + 0.3) / 3)
    assert found["false_claims"] == pytest.approx(2 / 3)
    assert found["error"] == pytest.approx((0.1 / 3 + 0.25 / 3 + 0.4 / 3) / 3)


def test_claimed_lift_is_compared_with_the_true_one():
    found = values(RIGHT, FALSE, UNSURE)
    assert found["true_over_claimed"] == pytest.approx((0.6 + 0) / (0.5 + 0.2))


def test_without_a_change_nothing_is_claimed():
    found = values(UNSURE)
    for name in ("true_over_claimed", "false_claims", "coverage_chosen"):
        assert found[name] is None
    assert found["power"] == 0
    assert values(judged([0.2, 0.2], [0.2, 0.2]))["power"] is None


def test_coverage_of_all_of_chosen_and_of_differences():
    found = values(RIGHT, FALSE, UNSURE)
    # Outside are FALSE's third option and UNSURE's second and third.
    assert found["coverage"] == pytest.approx((1 + 2 / 3 + 1 / 3) / 3)
    assert found["coverage_chosen"] == pytest.approx(1 / 2)
    assert found["coverage_first"] == pytest.approx(1 / 3)
    # True differences: (0, 0.6), (0, 0), (0.3, 0); estimates (-0.05, 0.5), (0.1, 0.2), (0.1, 0.2).
    assert found["coverage_difference"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["coverage_difference_chosen"] == pytest.approx(1 / 2)


def test_strata_are_the_best_options_and_thirds_of_the_truth():
    found = values(RIGHT, UNSURE)
    assert found["stratum best"] == pytest.approx(1 / 2)
    assert found["stratum not best"] == pytest.approx(3 / 4)
    assert found["stratum truth 1 of 3"] == pytest.approx(3 / 4)  # 0.2
    assert found["stratum truth 2 of 3"] == 0  # 0.5
    assert found["stratum truth 3 of 3"] == 1  # 0.8
    worst = worst_stratum([figures([RIGHT, UNSURE])])
    assert worst is not None
    assert worst.value == 0


def test_where_all_options_are_alike_there_are_no_strata():
    alone = figures([FALSE])
    assert not any(name.startswith("stratum") for name in alone)
    worst = worst_stratum([alone])
    assert worst is not None
    assert worst.value == pytest.approx(2 / 3)


def test_without_intervals_there_is_no_coverage():
    nothing = np.empty((2, 0))
    point = Judged(
        RIGHT.truth, RIGHT.truth, RIGHT.probability, nothing, nothing, RIGHT.better, chosen=2
    )
    found = figures([point])
    assert not any("coverage" in name or "stratum" in name for name in found)
    assert pool([found], "coverage") is None


def test_pooling_divides_sums_and_clusters_by_history():
    histories = [{"power": (1.0, 1.0)}, {"power": (0.0, 0.5)}, {"power": (0.5, 1.0)}, {}]
    pooled = pool(histories, "power")
    assert pooled is not None
    assert pooled.value == pytest.approx(1.5 / 2.5)
    residuals = np.array([1.0, 0.0, 0.5]) - 0.6 * np.array([1.0, 0.5, 1.0])
    error = 1.959964 * np.sqrt(1.5 * residuals @ residuals) / 2.5
    assert pooled.low == pytest.approx(0.6 - error)
    assert pooled.high == 1  # a share


def test_ece_is_zero_for_right_probabilities_of_random_images():
    rng = np.random.default_rng(0)
    truth = np.clip(rng.normal(0.45, 0.1, 2000), 0, 1)
    predicted, image = np.full(2000, 0.45), np.arange(2000)
    assert ece_of_truths(predicted, truth, image) < 0.004
    assert ece_of_truths(predicted + 0.02, truth, image) == pytest.approx(0.02, abs=0.004)
    bins = np.repeat([0.25, 0.75], 4)
    off = bins + np.repeat([0.1, -0.05], 4)
    assert ece_of_truths(bins, off, np.arange(8)) == pytest.approx(0.075)
