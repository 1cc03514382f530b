import numpy as np
import pytest

from augrank.models.targets import Target
from export.parity.answers import CatalogueAnswer, GateAnswer, ReferenceAnswer

RAISE = Target(name="open_rate", direction="maximize")
LOWER = Target(name="bounce_rate", direction="minimize")
NAMES = ("original", "brighter", "darker")
NOISE = np.random.default_rng(0).normal(size=400)
NOISE = (NOISE - NOISE.mean()) / NOISE.std()


def draws(*columns: tuple[float, float]) -> np.ndarray:
    """Draws of means and deviations; the deviation of a candidate is that of its difference."""
    return np.stack([mean + deviation * NOISE for mean, deviation in columns], axis=1)


def shown(*probabilities: float) -> np.ndarray:
    return np.repeat(np.array(probabilities)[:, None], 5, axis=1)


def test_the_reference_answers_as_a_server_does():
    reference = ReferenceAnswer.of_draws(draws((0.3, 0), (0.5, 0.02), (0.2, 0.05)), RAISE)
    answer = reference.answer
    assert (answer.kind, answer.choice, answer.first) == ("change", 1, 1)
    assert answer.probability == pytest.approx([0.3, 0.5, 0.2])
    low, high = np.quantile(NOISE, [0.05, 0.95])
    ends = [0.5 + 0.02 * low, 0.5 + 0.02 * high, 0.2 + 0.02 * low, 0.2 + 0.02 * high]
    assert answer.shown[1, 1:] == pytest.approx(ends, abs=2e-3)
    assert answer.shown[0, 3:] == pytest.approx([0, 0])
    assert reference.firm
    lower = ReferenceAnswer.of_draws(draws((0.3, 0), (0.5, 0.02), (0.2, 0.01)), LOWER).answer
    assert (lower.kind, lower.choice, lower.first) == ("change", 2, 2)
    unsure = ReferenceAnswer.of_draws(draws((0.3, 0), (0.35, 0.2), (0.3, 0.1)), RAISE).answer
    assert (unsure.kind, unsure.choice, unsure.first) == ("unsure", 0, 1)


def test_an_answer_is_read_from_its_json():
    def score(name: str, p: float) -> dict[str, object]:
        ends = {"interval": [p - 0.1, p + 0.1], "difference_interval": [p - 0.5, p - 0.4]}
        return {"name": name, "probability": p, **ends}

    body = {
        "candidates": [score("darker", 0.7), score("original", 0.5), score("brighter", 0.2)],
        "verdict": {"kind": "change", "choice": "darker"},
    }
    answer = GateAnswer.of_json(body, NAMES)
    assert (answer.kind, answer.choice, answer.first) == ("change", 2, 2)
    assert answer.shown[1] == pytest.approx([0.2, 0.1, 0.3, -0.3, -0.2])
    assert answer.probability == pytest.approx([0.5, 0.2, 0.7])
    body["verdict"] = {"kind": "keep", "choice": None}
    assert GateAnswer.of_json(body, NAMES).choice == 0


def test_the_larger_loss_of_following_the_verdict_and_of_testing_the_first_counts():
    reference = ReferenceAnswer.of_draws(draws((0.3, 0), (0.5, 0.02), (0.49, 0.02)), RAISE)
    same = reference.answer
    assert reference.loss(same) == 0
    assert reference.loss(GateAnswer(same.shown, 1, "unsure", 0)) == pytest.approx(0.2)
    assert reference.loss(GateAnswer(same.shown, 0, "change", 1)) == pytest.approx(0.2)
    assert reference.loss(GateAnswer(same.shown, 2, "change", 2)) == pytest.approx(0.01)
    careful = ReferenceAnswer.of_draws(draws((0.3, 0), (0.35, 0.2)), RAISE)
    assert careful.answer.kind == "unsure"
    # A candidate that the reference rates higher, though not surely, is no loss.
    assert careful.loss(GateAnswer(careful.answer.shown, 1, "change", 1)) == 0
    lower = ReferenceAnswer.of_draws(draws((0.3, 0), (0.5, 0.02), (0.2, 0.01)), LOWER)
    assert lower.loss(GateAnswer(lower.answer.shown, 1, "change", 1)) == pytest.approx(0.3)


def test_differences_count_where_a_user_acts_on_them():
    reference = ReferenceAnswer.of_draws(draws((0.3, 0), (0.5, 0), (0.2, 0), (0.1, 0)), RAISE)
    answer = reference.answer

    def off(row: int, column: int, by: float, first: int = 1) -> float:
        changed = answer.shown.copy()
        changed[row, column] += by
        return reference.difference(GateAnswer(changed, first, answer.kind, answer.choice))

    assert off(0, 0, -0.06) == pytest.approx(0.06)  # the original
    assert off(1, 2, 0.07) == pytest.approx(0.07)  # an end of the recommended one's interval
    assert off(3, 0, -0.08) == 0  # neither recommends it or lists it first
    assert off(3, 0, 0.5, first=3) == pytest.approx(0.5)  # the archive lists it first
    assert np.isnan(off(1, 0, float("nan")))


def test_low_rates_are_compared_by_their_ratio():
    low = ReferenceAnswer.of_draws(draws((0.002, 0), (0.0025, 0.0001), (0.001, 0)), RAISE)
    assert low.unit == pytest.approx(0.01)
    got = GateAnswer(low.answer.shown + 0.0005, 2, "change", 2)
    assert low.loss(got) == pytest.approx(0.15)
    assert low.difference(got) == pytest.approx(0.05)
    assert not low.agrees(got)
    assert low.firm  # though half a point is more than any of these gains
    zero = ReferenceAnswer.of_draws(draws((0, 0), (0, 0)), RAISE)
    assert zero.difference(GateAnswer(shown(0, 0.1), 1, "keep", 0)) > 1


def test_a_near_tie_may_have_either_verdict():
    def verdicts(gain: float, deviation: float) -> set[str]:
        reference = ReferenceAnswer.of_draws(draws((0.3, 0), (0.3 + gain, deviation)), RAISE)
        return {
            kind
            for kind, choice in (("change", 1), ("unsure", 0), ("keep", 0))
            if reference.agrees(GateAnswer(reference.answer.shown, 1, kind, choice))
        }

    bound = float(np.quantile(-NOISE, 0.95))  # times the deviation: the margin of one option
    assert verdicts(0.10, 0.01) == {"change"}
    assert verdicts(0.02 * bound + 0.004, 0.02) == {"change", "unsure"}
    assert verdicts(0.02 * bound + 0.006, 0.02) == {"change"}
    assert verdicts(0.0, 0.1) == {"unsure"}
    above = float(np.quantile(NOISE, 0.95))
    assert verdicts(0.03 - 0.015 * above - 0.004, 0.015) == {"keep", "unsure"}  # worthwhile: 10 %
    assert verdicts(0.03 - 0.015 * above - 0.006, 0.015) == {"keep"}


def test_equally_good_candidates_may_be_chosen():
    reference = ReferenceAnswer.of_draws(
        draws((0.3, 0), (0.5, 0.02), (0.496, 0.02), (0.494, 0.02)), RAISE
    )
    assert reference.answer.choice == 1

    def choice(number: int) -> bool:
        return reference.agrees(GateAnswer(reference.answer.shown, number, "change", number))

    assert [choice(number) for number in range(1, 4)] == [True, True, False]


def test_probabilities_of_the_catalogue_are_compared_by_name_and_path():
    def score(key: str, value: str, p: float) -> dict[str, object]:
        return {key: value, "probability": p}

    expected = CatalogueAnswer({"original": 0.3, "darker": 0.5}, {"a.jpg": 0.2, "b.jpg": 0.4})
    body = {
        "candidates": [score("name", "darker", 0.53), score("name", "original", 0.3)],
        "alternates": [score("path", "other.jpg", 0.9), score("path", "a.jpg", 0.26)],
    }
    assert expected.difference(body) == pytest.approx((0.03 + 0 + 0.06) / 3)
    low = CatalogueAnswer({"original": 0.025}, {})  # a unit of a tenth
    assert low.difference({"candidates": [score("name", "original", 0.026)], "alternates": []}) == (
        pytest.approx(0.01)
    )
