import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from training.common.classification import (
    classification_figures,
    confidence_error,
    confusion_matrix,
    macro_f1,
)

RNG = np.random.default_rng(0)
LABEL = RNG.integers(0, 3, 400)
PROBABILITY = RNG.dirichlet((1, 1, 1), 400) + 0.8 * np.eye(3)[LABEL]
PROBABILITY /= PROBABILITY.sum(axis=1, keepdims=True)


def figures(group=None):
    return classification_figures(
        PROBABILITY, LABEL, np.arange(400) if group is None else group, ("a", "b", "c")
    )


def test_figures_are_those_of_scikit_learn():
    found, predicted = figures(), PROBABILITY.argmax(axis=1)
    assert found.macro_f1 == pytest.approx(f1_score(LABEL, predicted, average="macro"))
    assert found.log_loss == pytest.approx(log_loss(LABEL, PROBABILITY))
    assert found.accuracy == pytest.approx((predicted == LABEL).mean())
    assert [each.f1 for each in found.per_class.values()] == pytest.approx(
        f1_score(LABEL, predicted, average=None).tolist()
    )
    assert np.array(found.confusion).sum() == 400
    assert found.p_value < 1e-10
    low, high = found.macro_f1_interval_95
    assert low < found.macro_f1 < high
    assert high - low == pytest.approx(4 * np.sqrt(found.accuracy * (1 - found.accuracy) / 400),
                                       rel=0.3)  # fmt: skip


def test_images_of_one_group_count_less():
    """Twenty images an uploader, all right or all wrong: twenty draws, not four hundred."""
    group = np.repeat(np.arange(20), 20)
    right = np.repeat(np.random.default_rng(1).random(20) < 0.7, 20)
    label = np.tile([0, 1], 200)
    probability = np.eye(2)[np.where(right, label, 1 - label)]
    apart = classification_figures(probability, label, np.arange(400), ("a", "b"))
    together = classification_figures(probability, label, group, ("a", "b"))

    def width(found):
        return found.macro_f1_interval_95[1] - found.macro_f1_interval_95[0]

    assert width(together) > 3 * width(apart)


def test_a_class_without_test_images_is_left_out_and_one_never_right_counts_zero():
    label, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 2, 2])
    confusion = confusion_matrix(label, predicted, 3)
    assert macro_f1(confusion) == pytest.approx(0.5)
    assert confusion.tolist() == [[2, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_confidence_that_is_right_as_often_as_it_says_has_no_error():
    label = np.array([0] * 8 + [1] * 2)
    probability = np.tile([0.8, 0.2], (10, 1))
    assert confidence_error(probability, label) == pytest.approx(0)
    assert confidence_error(np.tile([0.95, 0.05], (10, 1)), label) == pytest.approx(0.15)


def test_guessing_is_not_significant():
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, 300)
    found = classification_figures(
        rng.dirichlet((1, 1, 1), 300), label, np.arange(300), ("a", "b", "c")
    )
    assert found.p_value > 0.01


def test_intervals_hold_the_truth_where_images_come_in_groups():
    """Thirty uploaders of ten images each, right together or wrong together."""
    rng, inside = np.random.default_rng(5), 0
    for _ in range(60):
        right = np.repeat(rng.random(30) < 0.8, 10)
        label = np.tile([0, 1], 150)
        probability = np.eye(2)[np.where(right, label, 1 - label)]
        found = classification_figures(probability, label, np.repeat(np.arange(30), 10), ("a", "b"))
        low, high = found.accuracy_interval_95
        inside += low <= 0.8 <= high
    assert inside / 60 > 0.88


def test_of_few_groups_that_are_all_right_the_interval_is_wide():
    label = np.tile([0, 1], 50)
    found = classification_figures(np.eye(2)[label], label, np.repeat(np.arange(10), 10), "ab")
    assert found.accuracy_interval_95[0] < 0.8
