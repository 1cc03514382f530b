import numpy as np
import pytest

from export.parity.figures import Tolerance, compare, rank_correlation, shortfalls


def test_the_gates_figures():
    expected = np.array([[0.2, 0.8, 0.5], [0.9, 0.9, 0.1]])
    same = compare(expected, expected, ["maximize", "minimize"], 1.0)
    assert (same.max_probability_difference, same.rank_correlation, same.top1_agreement) == (
        0,
        1,
        1,
    )
    got = np.array([[0.9, 0.8, 0.5], [0.9, 0.95, 0.1]])
    off = compare(expected, got, ["maximize", "minimize"], 0.99)
    assert off.max_probability_difference == pytest.approx(0.7)
    assert off.top1_agreement == 0.5
    either = compare(expected[1:], np.array([[0.8, 0.9, 0.1]]), ["maximize"], 1.0)
    assert either.top1_agreement == 1.0
    strict = Tolerance(1.0, 1.0, 1.0, 0.0)
    assert len(shortfalls(off, strict)) == 4
    assert shortfalls(same, strict) == []
    assert len(shortfalls(same.model_copy(update={"embedding_cosine": float("nan")}), strict)) == 1


def test_the_rank_correlation_shares_ranks_between_ties_and_knows_constants():
    first = np.array([[0.1, 0.2, 0.2, 0.4]])
    second = np.array([[0.3, 0.1, 0.2, 0.9]])
    # Ranks 1, 2.5, 2.5, 4 and 3, 1, 2, 4.
    assert rank_correlation(first, second) == pytest.approx(1.5 / np.sqrt(4.5 * 5))
    assert rank_correlation(first, first + 1e-8) == pytest.approx(1.0)  # below six decimals
    constant = np.full((1, 4), 0.5)
    assert rank_correlation(constant, constant + 1e-5) == 1.0
    assert rank_correlation(constant, second) == 0.0
