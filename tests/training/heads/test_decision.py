import numpy as np
import pytest

from training.heads.dataset import OutcomeRows
from training.heads.decision import decision_metrics


def rows(original, truth, label, weight=None, embedding=None):
    count = len(original)
    numbers = np.arange(count) if embedding is None else np.array(embedding)
    return OutcomeRows(
        embedding=numbers,
        augmentation=np.zeros(count, np.int64),
        context=np.zeros(count, np.int64),
        original=np.array(original),
        label=np.array(label, float),
        weight=np.ones(count) if weight is None else np.array(weight, float),
        truth=None if truth is None else np.array(truth, float),
    )


def certain(probability, draws=100):
    """Return draws that scatter by a thousandth."""
    rng = np.random.default_rng(0)
    return np.array(probability) + rng.normal(0, 0.001, (draws, len(probability)))


def test_the_picked_row_of_each_original_is_compared_with_its_best():
    shown = rows([0, 0, 0, 1, 1], [0.2, 0.8, 0.5, 0.3, 0.1], [0, 1, 0, 1, 0])
    right = decision_metrics(certain([0.2, 0.8, 0.5, 0.3, 0.1]), shown, "maximize", 0)
    assert right["regret"] == pytest.approx(0)
    assert right["pairwise_accuracy"] == 1
    assert right["picked_rate"] == 1
    assert right["shown_rate"] == pytest.approx(2 / 5)
    assert right["coverage"] == 1
    assert right["false_claims"] == 0
    wrong = decision_metrics(certain([0.2, 0.3, 0.5, 0.3, 0.1]), shown, "maximize", 0)
    assert wrong["regret"] == pytest.approx((0.3 + 0) / 2)
    assert wrong["pairwise_accuracy"] == 3 / 4
    assert wrong["coverage"] == 4 / 5
    assert wrong["false_claims"] == 1 / 4


def test_for_a_target_to_minimise_the_lowest_row_is_picked():
    shown = rows([0, 0], [0.2, 0.8], [0, 1])
    figures = decision_metrics(certain([0.2, 0.8]), shown, "minimize", 0)
    assert (figures["regret"], figures["picked_rate"]) == (0, 0)


def test_without_the_truth_outcomes_order_the_pairs():
    shown = rows([0, 0, 1], None, [0, 1, 1])
    figures = decision_metrics(certain([0.2, 0.8, 0.5]), shown, "maximize", 0)
    assert figures["pairwise_accuracy"] == 1
    assert (figures["regret"], figures["coverage"], figures["false_claims"]) == (None, None, None)


def test_counts_of_one_image_are_one_row():
    shown = rows([0, 0, 0, 0], [0.25, 0.25, 0.5, 0.5], [1, 0, 1, 0], [1, 3, 0, 2], [0, 0, 1, 1])
    figures = decision_metrics(certain([0.25, 0.25, 0.5, 0.5]), shown, "maximize", 0)
    assert figures["picked_rate"] == 0  # the second: none of two
    assert figures["shown_rate"] == pytest.approx(1 / 6)
