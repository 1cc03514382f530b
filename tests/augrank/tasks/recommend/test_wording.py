import numpy as np

from augrank.models.targets import Target
from augrank.tasks.recommend.response import Score
from augrank.tasks.recommend.wording import ALTERNATES, CANDIDATES, verdict
from augrank.trust.verdict import Decision

OPEN = Target(name="open_rate", direction="maximize")
NONE = np.zeros(1, bool)


def score(probability, difference, difference_interval):
    return Score(
        probability=probability,
        interval=(probability, probability),
        difference=difference,
        difference_interval=difference_interval,
        lift=None,
        better=True,
    )


def test_a_change_shows_the_signed_interval_of_its_difference():
    change = Decision("change", 0, ~NONE, None, None)
    got = verdict(change, OPEN, "brighter", score(0.32, 0.12, (-0.001, 0.25)), CANDIDATES)
    assert got.text == (
        "Change the picture to brighter: it would raise open_rate from 20.0% to 32.0%, a "
        "difference of -0.1 to +25.0 points (90 % interval)."
    )


def test_low_rates_have_enough_decimals():
    change = Decision("change", 0, ~NONE, None, None)
    got = verdict(change, OPEN, "a.png", score(0.0024, 0.0004, (0.0002, 0.0006)), ALTERNATES)
    assert got.text == (
        "Replace the picture with a.png: it would raise open_rate from 0.200% to 0.240%, a "
        "difference of +0.020 to +0.060 points (90 % interval)."
    )


def test_unsure_says_what_it_takes_and_keep_what_is_improbable():
    unsure = verdict(Decision("unsure", None, NONE, 1683, 0.2), OPEN, None, None, CANDIDATES)
    assert unsure.text.endswith(
        "Detecting a change of 20% needs about 1,683 sends of each of two pictures, 3,366 in all."
    )
    target = Target(name="unsubscribe_rate", direction="minimize")
    keep = verdict(Decision("keep", None, NONE, None, 0.1), target, None, None, ALTERNATES)
    assert keep.text == (
        "Keep this picture: probably no other picture of the catalogue would lower "
        "unsubscribe_rate by more than 10%."
    )
