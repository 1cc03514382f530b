"""A graph is as good as fp32 unless it loses more than matters and more than chance explains."""

from dataclasses import replace

import numpy as np
import pytest

from training.graphs.judge import (
    EQUAL_LOSS,
    Comparison,
    HeldOut,
    base_rate_loss,
    relative_regret,
)

ORIGINALS, ROWS = 50, 400
BASE = 0.69
RNG = np.random.default_rng(0)
EXACT = HeldOut(
    correct=RNG.random(600) < 0.9,
    file=np.repeat(np.arange(100), 6),
    loss=RNG.normal(0.5, 0.1, ROWS),
    weight=np.full(ROWS, 1 / ROWS),
    original=np.repeat(np.arange(ORIGINALS), ROWS // ORIGINALS),
    base_loss=BASE,
    regret=0.01,
)


def shortfalls(**changes) -> tuple[str, ...]:
    return Comparison.of(replace(EXACT, **changes), EXACT).shortfalls()


def test_the_same_is_as_good():
    assert shortfalls() == ()
    compared = Comparison.of(EXACT, EXACT)
    assert (compared.log_loss, compared.log_loss_error) == (0, 0)
    assert (compared.unrecognised, compared.regret) == (0, 0)


@pytest.mark.parametrize(
    ("more", "noise", "good"),
    [
        (0.8 * EQUAL_LOSS * BASE, 0.0, True),  # costs nobody anything
        (1.3 * EQUAL_LOSS * BASE, 0.0, False),
        (1.3 * EQUAL_LOSS * BASE, 0.1, True),  # may be chance
        (0.1, 0.1, False),
        (-0.1, 0.0, True),  # better
    ],
)
def test_a_higher_loss_counts_beyond_its_error_and_beyond_what_matters(more, noise, good):
    by_original = np.repeat(RNG.normal(0, noise, ORIGINALS), ROWS // ORIGINALS)
    by_original -= by_original.mean()
    found = shortfalls(loss=EXACT.loss + more + by_original)
    assert (found == ()) == good
    if not good:
        assert found[0].startswith("log loss 0.")
        assert "higher than fp32's 0.4" in found[0]


def test_what_matters_is_less_where_heads_know_little():
    """Half a percent of the base would be a third of what these heads know beyond the rate."""
    little = replace(EXACT, base_loss=EXACT.mean_loss + 0.006)
    worse = replace(little, loss=little.loss + 0.002)
    assert Comparison.of(worse, replace(EXACT, base_loss=BASE)).shortfalls() == ()
    (found,) = Comparison.of(worse, little).shortfalls()
    assert found.startswith("log loss 0.0020 higher")


def test_what_matters_does_not_vanish_where_a_network_knows_nearly_all():
    """Of 1.386 nats of four classes 0.036 are left: 0.002 more cost no image its class."""
    sure = replace(EXACT, loss=EXACT.loss * 0.036 / EXACT.mean_loss, base_loss=np.log(4))
    assert Comparison.of(replace(sure, loss=sure.loss + 0.002), sure).shortfalls() == ()
    assert Comparison.of(replace(sure, loss=sure.loss + 0.008), sure).shortfalls() != ()
    wrong = replace(sure, correct=sure.correct & (np.arange(600) % 100 > 0))
    assert Comparison.of(wrong, sure).shortfalls() != ()  # 1 % of images lose theirs


def test_base_rates_and_rare_outcomes():
    label, weight = np.array([1.0, 0.0]), np.array([1.0, 3.0])
    assert base_rate_loss(label, weight) == pytest.approx(
        -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    )
    assert relative_regret(0.001, 0.4) == 0.001
    assert relative_regret(0.001, 0.005) == pytest.approx(0.05)  # a fifth of the rate
    assert relative_regret(None, 0.4) is None


def test_outcomes_of_one_original_count_as_one():
    """Rows of the same image err together: their error is that of 50 originals, not of 400 rows."""
    by_original = np.repeat(RNG.normal(0, 0.1, ORIGINALS), ROWS // ORIGINALS)
    compared = Comparison.of(replace(EXACT, loss=EXACT.loss + by_original), EXACT)
    assert compared.log_loss_error == pytest.approx(0.1 / np.sqrt(ORIGINALS), rel=0.2)


def test_two_images_less_recognised_are_no_loss_and_one_in_twenty_is():
    right = np.flatnonzero(EXACT.correct)
    few, many = EXACT.correct.copy(), EXACT.correct.copy()
    few[right[:2]] = False
    many[right[::20]] = False
    assert shortfalls(correct=few) == ()
    assert shortfalls(correct=many)[0].startswith("recognises 4.")
    swapped = many.copy()
    swapped[np.flatnonzero(~EXACT.correct)[: len(right[::20])]] = True
    assert shortfalls(correct=swapped) == ()  # it recognises others instead


def test_regret_counts_if_the_truth_is_known():
    assert shortfalls(regret=0.014) == ()
    assert shortfalls(regret=0.016) == ("regret 0.0060 higher",)
    unknown = replace(EXACT, regret=None)
    assert Comparison.of(unknown, unknown).regret is None


def test_every_target_counts_the_same():
    weight = np.where(np.arange(ROWS) < 40, 0.5 / 40, 0.5 / 360)  # of few outcomes and of many
    few = replace(EXACT, weight=weight, loss=EXACT.loss + np.where(np.arange(ROWS) < 40, 0.1, 0.0))
    assert few.mean_loss - replace(few, loss=EXACT.loss).mean_loss == pytest.approx(0.05)
