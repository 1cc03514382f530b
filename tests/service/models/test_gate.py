"""The gate promotes what is better, refuses what is not, and says why."""

import numpy as np
import pytest
from scipy import stats

from augrank.errors import DataError
from service.models.evaluation import (
    EvaluatedImage,
    evaluation_path,
    read_evaluation,
    write_evaluation,
)
from service.models.gate import GateSettings, judge
from service.models.simulation import World, simulate
from service.models.statistics import (
    images_needed,
    mid_p,
    paired_interval,
    upper_bound,
    wilson,
)

QUICK = GateSettings(flips=300)
RUNS = 200


def told(rights: list[bool], advertiser: str = "ada", label: str = "colour", first: int = 0):
    """Return an evaluation: the class is red or blue in turns, and a model says so or not."""
    return [
        EvaluatedImage(
            f"{first + number:064x}", advertiser, label, truth := ("red", "blue")[number % 2],
            truth if right else "green", 0.9,
        )
        for number, right in enumerate(rights)
    ]  # fmt: skip


def rights(count: int, wrong: set[int]) -> list[bool]:
    return [number not in wrong for number in range(count)]


def test_a_candidate_that_is_2_points_worse_is_not_promoted():
    assert simulate(World((-0.02,)), RUNS, QUICK).promoted <= 0.05
    assert simulate(World((-0.02,) * 8), 20, QUICK).promoted <= 0.05


@pytest.mark.parametrize("disagreement", [0.06, 0.08])
def test_a_candidate_that_is_2_points_better_is_promoted(disagreement):
    assert simulate(World((0.02,), disagreement), RUNS, QUICK).promoted >= 0.80


def test_one_that_is_better_is_found_among_eight():
    outcome = simulate(World((0.02, *(0.0,) * 7)), 100, QUICK)
    assert outcome.first >= 0.75
    assert outcome.promoted - outcome.first <= 0.05


def test_chance_promotes_none_of_eight_that_are_as_good():
    outcome = simulate(World((0.0,) * 8), RUNS, QUICK, seed=1)
    # 5 % are meant: 10 of 200, and by chance not more than 18.
    assert outcome.promoted <= 0.09
    assert outcome.covered >= 0.91
    naive = simulate(World((0.0,) * 8), 40, GateSettings(flips=300, error=0.3), seed=1)
    assert naive.promoted > outcome.promoted  # the test can fail


def test_an_advertiser_that_loses_5_points_blocks():
    world = World((0.03,), advertisers=3, losses={0: -0.05})
    assert simulate(world, 100, QUICK).blocked >= 0.9
    assert simulate(World((0.03,), advertisers=3), 100, QUICK).blocked <= 0.05


def test_few_images_of_noise_block_nothing_and_a_real_loss_does():
    better = rights(400, set(range(0, 80, 2)))  # the live one is wrong 40 times
    for lost, blocks in ((1, False), (4, True)):
        count = 20 if lost == 1 else 80
        live = told(better) + told([True] * count, "bob", first=1000)
        other = told([True] * 400) + told(rights(count, set(range(lost))), "bob", first=1000)
        result = judge(live, {"new": other}, QUICK)
        (group,) = [each for each in result.candidates[0].groups if each.name == "bob"]
        assert group.difference.value == pytest.approx(-0.05)
        assert bool(group.blocks) == blocks
        assert result.chosen == (None if blocks else "new")
    assert "the advertiser bob loses 5.0 points on 80 images" in result.reasons[0]
    assert result.reasons[0].startswith("the candidate, new: ")


def test_a_class_below_its_floor_blocks_unless_the_live_model_is_there_too():
    live_wrong, new_wrong = set(range(0, 60, 2)), {301, 303}
    live = told(rights(400, live_wrong)) + told([True, True] * 15, "cyd", "type", 2000)
    rare = told(rights(30, set(range(1, 30, 2))), "cyd", "type", 2000)  # all blue ones are wrong
    result = judge(live, {"new": told(rights(400, new_wrong)) + rare}, QUICK)
    assert result.chosen is None
    assert any("the class type: blue" in reason for reason in result.reasons)
    both = judge(
        told(rights(400, live_wrong)) + rare, {"new": told(rights(400, new_wrong)) + rare}, QUICK
    )
    assert both.chosen == "new"


def test_reasons_say_what_was_found():
    live = told(rights(100, {0, 1, 2}))
    same = judge(live, {"same": live}, QUICK)
    assert same.chosen is None
    assert "not better than the live model: +0.0 points" in same.reasons[0]
    lucky = judge(live, {"lucky": told(rights(100, {0, 1})), "same": live}, QUICK)
    assert "none of these 2; the best, lucky" in lucky.reasons[0]
    assert "about" in lucky.reasons[0]
    good = judge(told(rights(100, set(range(20)))), {"good": told([True] * 100)}, QUICK)
    assert good.chosen == "good"
    assert good.reasons[0].startswith("+20.0 points against the live model: at least +1")
    json = good.of("good")
    assert json["promote"] is True
    assert json["better"] == 20
    assert json["groups"][0]["kind"] == "advertiser"
    bad = told(rights(100, set(range(20))))
    two = judge(bad, {"good": told(rights(100, {0})), "best": told([True] * 100)}, QUICK)
    assert two.chosen == "best"
    assert two.of("good")["promote"] is False
    assert two.of("good")["reasons"] == ["it is better than the live model, and best even more so"]
    assert judge(live, {}, QUICK).reasons == ("none of these: there is no candidate",)


def test_images_with_several_labels_are_clusters():
    live = told(rights(200, set(range(12)))) + told(rights(200, set(range(12))), label="type")
    new = told([True] * 200) + told([True] * 200, label="type")
    result = judge(live, {"new": new}, QUICK).candidates[0]
    assert result.better == 12  # images, not answers
    assert result.difference.value == pytest.approx(24 / 400)
    assert result.p == pytest.approx(0.5**13)


def test_models_are_compared_on_the_same_images_alone():
    live = told([True] * 10)
    for other in (told([True] * 9), told([True] * 11), told([True] * 10, "bob")):
        with pytest.raises(DataError, match="not evaluated on the same images"):
            judge(live, {"new": other})
    with pytest.raises(DataError, match="nothing to compare"):
        judge([], {"new": []})


def test_an_image_of_two_test_sets_counts_once():
    live = told(rights(50, {1}))
    assert judge(live + live, {"new": live}, QUICK).images == 50
    with pytest.raises(DataError, match="contradicts itself"):
        judge(live + told([False] * 50), {"new": live})


def test_evaluations_are_kept_as_lines(tmp_path):
    path = evaluation_path(tmp_path, "a" * 64)
    images = told(rights(5, {2}), "ädvertiser")
    write_evaluation(path, images)
    assert read_evaluation(path) == images
    assert [each.correct for each in read_evaluation(path)] == [True, True, False, True, True]
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match="Evaluate the model again"):
        read_evaluation(path)


def test_statistics_are_those_of_the_books():
    assert mid_p(8, 2) == pytest.approx(
        stats.binom.sf(8, 10, 0.5) + 0.5 * stats.binom.pmf(8, 10, 0.5)
    )
    assert mid_p(0, 0) == 1.0
    assert upper_bound(12, 400, 0.025) == pytest.approx(stats.beta.ppf(0.975, 13, 388))
    assert upper_bound(0, 50, 0.05) == pytest.approx(1 - 0.05 ** (1 / 50))
    assert upper_bound(50, 50, 0.05) == 1.0
    known = stats.binomtest(30, 200).proportion_ci(method="wilson")
    assert (wilson(30, 200).low, wilson(30, 200).high) == pytest.approx((known.low, known.high))
    differences = np.array([1] * 90 + [-1] * 50 + [0] * 1860)
    interval = paired_interval(differences, 2000)
    assert interval.value == pytest.approx(0.02)
    # Agresti and Min (2005): (b - c) / (n + 2), and the variance of the table with 1/2 added.
    spread = np.sqrt(141 - 40**2 / 2002) / 2002
    assert interval.low == pytest.approx(40 / 2002 - 1.96 * spread, abs=1e-6)
    assert images_needed(0.02, 0.07) == pytest.approx(1077, abs=15)
