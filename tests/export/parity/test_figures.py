from dataclasses import replace

import numpy as np
import pytest

from augrank.models.targets import Target
from export.parity.answers import GateAnswer, ReferenceAnswer
from export.parity.figures import Tolerance, compare, min_cosine, shortfalls, typical_norm


def certain(target: str, *probabilities: float) -> ReferenceAnswer:
    """The reference's answer if there is no doubt about its probabilities."""
    return ReferenceAnswer.of_draws(
        np.tile(probabilities, (20, 1)), Target(name=target, direction="maximize")
    )


def test_the_gates_figures():
    expected = [certain("opens", 0.3, 0.5, 0.2), certain("opens", 0.3, 0.4, 0.2)]
    expected += [certain("clicks", 0.6, 0.5, 0.2), certain("clicks", 0.3, 0.5, 0.2)]
    answers = [each.answer for each in expected]
    same = compare(expected, answers, 1.0)
    assert same.model_dump() == {
        "requests": 4,
        "regret": 0,
        "verdict_changes": 0,
        "probability_difference": 0,
        "embedding_cosine": 1,
    }
    got = [
        GateAnswer(answers[0].shown + 0.01, 2, "change", 2),  # 0.2 instead of 0.5
        GateAnswer(answers[1].shown + 0.03, 1, "unsure", 0),  # 0.3 instead of 0.4
        GateAnswer(answers[2].shown - 0.08, 0, "keep", 0),
        answers[3],
    ]
    off = compare(expected, got, 0.99)
    assert off.regret == pytest.approx((0.3 + 0.1) / 4)
    assert off.verdict_changes == 0.5
    assert off.probability_difference == pytest.approx((0.08 + 0) / 2)  # of clicks
    assert len(shortfalls(off, Tolerance(1.0, 0.0))) == 4
    assert shortfalls(same, Tolerance(1.0, 0.0)) == []
    not_a_number = same.model_copy(
        update={"embedding_cosine": float("nan"), "probability_difference": float("nan")}
    )
    assert len(shortfalls(not_a_number, Tolerance(0.5, 0.5))) == 2


def test_one_verdict_in_few_may_change_and_one_percent_of_many():
    figures = compare([certain("opens", 0.3, 0.5)], [certain("opens", 0.3, 0.5).answer], 1.0)
    tolerance = Tolerance(0.9, 0.1)

    def passes(changed: int, requests: int) -> bool:
        share = round(changed / requests, 6)
        update = {"requests": requests, "verdict_changes": share}
        return shortfalls(figures.model_copy(update=update), tolerance) == []

    assert [passes(changed, 16) for changed in (0, 1, 2)] == [True, True, False]
    assert [passes(changed, 88) for changed in (1, 2)] == [True, False]
    assert [passes(changed, 500) for changed in (5, 6)] == [True, False]
    assert replace(tolerance, verdict_changes=0.1).max_changes(500) == 0.1


def test_the_lowest_cosine_of_rows():
    got = np.array([[1, 0], [1, 1]], np.float32)
    expected = np.array([[2, 0], [1, 0]], np.float32)
    assert min_cosine(got, expected, 1) == pytest.approx(np.sqrt(0.5))
    assert min_cosine(np.zeros_like(got), expected, 1) == 0
    assert np.isnan(min_cosine(got * np.nan, expected, 1))


def test_rows_that_are_nearly_zero_count_less():
    expected = np.array([[3, 4, 0], [0, 0.1, 0], [5, 0, 0]], np.float32)
    got = expected + np.array([0.01, 0, 0], np.float32)
    assert typical_norm(expected) == 5
    assert min_cosine(got[1:2], expected[1:2], 0.1) < 0.996  # as the rule was
    assert min_cosine(got, expected, 5) > 0.9999
    assert min_cosine(-got, expected, 5) == pytest.approx(-1, abs=1e-3)
    assert min_cosine(np.zeros_like(got), np.zeros_like(got), 5) == 1
    assert min_cosine(got[2:], expected[1:2], 5) == pytest.approx(0, abs=0.05)  # nothing became 5
