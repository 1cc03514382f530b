import numpy as np
import pytest

from training.heads import decision
from training.heads.dataset import OutcomeRows
from training.heads.decision import decision_metrics, judged_rows


def rows(original, truth, label, weight=None, embedding=None, context=None, augmentation=None):
    count = len(original)
    numbers = np.arange(count) if embedding is None else np.array(embedding)
    return OutcomeRows(
        embedding=numbers,
        augmentation=np.arange(count) if augmentation is None else np.array(augmentation),
        context=np.zeros(count, np.int64) if context is None else np.array(context),
        original=np.array(original),
        label=np.array(label, float),
        weight=np.ones(count) if weight is None else np.array(weight, float),
        truth=None if truth is None else np.array(truth, float),
    )


def metrics(probability, shown, direction="maximize", unchanged=None):
    """Judge predictions that are nearly certain, one for each row's embedding.

    Without ``unchanged``, the unchanged image of each original is its first embedding.
    """
    if unchanged is None:
        first = [shown.embedding[shown.original == number].min() for number in shown.original]
        unchanged = np.array(first)
    judged = judged_rows(shown, unchanged, 0)
    rng = np.random.default_rng(0)
    mean = np.array(probability)[judged.rows.embedding]
    return decision_metrics(mean + rng.normal(0, 0.001, (200, len(mean))), judged, direction)


def test_the_recommended_row_of_each_original_is_compared_with_its_best():
    shown = rows([0, 0, 0, 1, 1], [0.2, 0.8, 0.5, 0.3, 0.1], [0, 1, 0, 1, 0])
    right = metrics([0.2, 0.8, 0.5, 0.3, 0.1], shown)
    assert right["regret"] == pytest.approx(0)
    assert right["pairwise_accuracy"] == 1
    assert right["picked_rate"] == 1
    assert right["shown_rate"] == pytest.approx(2 / 5)
    assert right["changes"] == 1 / 2  # the second keeps its reference
    assert right["coverage"] == 1
    assert right["false_claims"] == 0
    wrong = metrics([0.2, 0.3, 0.5, 0.3, 0.4], shown)
    assert wrong["regret"] == pytest.approx((0.3 + 0.2) / 2)
    assert wrong["pairwise_accuracy"] == 2 / 4
    assert wrong["coverage"] == 3 / 5
    assert wrong["false_claims"] == 1 / 3


def test_the_unchanged_image_is_the_reference_whatever_the_order_of_rows():
    shown = rows([0, 0], [0.8, 0.2], [1, 0])
    assert metrics([0.8, 0.2], shown, unchanged=np.array([1, 1]))["changes"] == 1
    assert metrics([0.8, 0.2], shown, unchanged=np.array([0, 0]))["changes"] == 0
    unknown = rows([0, 0], [0.8, 0.2], [1, 0], augmentation=[0, 0])  # no such column
    assert metrics([0.8, 0.2], unknown, unchanged=np.array([1, 1]))["changes"] == 1


def test_rows_of_different_contexts_are_not_compared():
    shown = rows([0, 0, 0], [0.2, 0.8, 0.5], [0, 1, 1], context=[0, 1, 1])
    figures = metrics([0.8, 0.2, 0.5], shown)
    assert figures["pairwise_accuracy"] == 0  # of one pair
    assert figures["regret"] == pytest.approx(0.3)
    alone = metrics([0.2, 0.8], rows([0, 0], [0.2, 0.8], [0, 1], context=[0, 1]))
    assert alone["coverage"] == 1
    for name in ("pairwise_accuracy", "regret", "false_claims", "picked_rate", "changes"):
        assert alone[name] is None


def test_for_a_target_to_minimise_the_lowest_row_is_picked():
    figures = metrics([0.2, 0.8], rows([0, 0], [0.2, 0.8], [0, 1]), "minimize")
    assert (figures["regret"], figures["picked_rate"]) == (0, 0)


def test_without_the_truth_outcomes_order_the_pairs():
    figures = metrics([0.2, 0.8, 0.5], rows([0, 0, 1], None, [0, 1, 1]))
    assert figures["pairwise_accuracy"] == 1
    assert (figures["regret"], figures["coverage"], figures["false_claims"]) == (None, None, None)


def test_counts_of_one_image_are_one_row_and_rows_without_outcomes_are_none():
    shown = rows(
        [0, 0, 0, 0, 0],
        [0.25, 0.25, 0.5, 0.5, 1.0],
        [1, 0, 1, 0, 1],
        [1, 3, 0, 2, 0],
        [0, 0, 1, 1, 2],
        augmentation=[0, 0, 1, 1, 2],
    )
    figures = metrics([0.25, 0.5, 1.0], shown)
    assert figures["picked_rate"] == 0  # the second: none of two
    assert figures["shown_rate"] == pytest.approx(1 / 6)


def test_of_many_rows_those_of_some_originals_are_judged(monkeypatch):
    monkeypatch.setattr(decision, "MAX_ROWS", 6)
    original = np.repeat(np.arange(10), 3)
    shown = rows(original, None, original % 2)
    judged = judged_rows(shown, 3 * original, 0)
    assert len(judged.rows) == 6
    assert (judged.rows.embedding[judged.starts[:-1]] % 3 == 0).all()
    assert np.array_equal(judged.row, judged.rows.embedding)
    monkeypatch.setattr(decision, "MAX_ROWS", 8)
    assert len(judged_rows(shown, 3 * original, 0).rows) == 6  # no original is cut
    assert len(np.unique(judged.rows.original)) == 2
    assert [part.stop - part.start for part in judged.groups()] == [3, 3]
