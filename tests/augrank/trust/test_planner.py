import numpy as np
import pytest
from scipy.stats import norm

from augrank.trust.planner import sends_per_version


@pytest.mark.parametrize(
    ("rate", "lift", "sends"),
    [
        (0.0018, 0.1, 914_000),
        (0.0018, 0.2, 239_000),
        (0.025, 0.1, 64_000),
        (0.025, 0.2, 16_800),
        (0.2, 0.1, 6_510),
        (0.2, 0.2, 1_683),
        (0.2, 0.5, 294),
    ],
)
def test_the_published_sample_sizes_are_reproduced(rate, lift, sends):
    assert sends_per_version(rate, rate * (1 + lift)) == pytest.approx(sends, rel=0.005)


@pytest.mark.parametrize(
    ("first", "second", "ratio"), [(0.2, 0.25, 1.0), (0.2, 0.26, 1.2), (0.3, 0.1, 0.5)]
)
def test_the_number_has_the_power_that_it_promises(first, second, ratio):
    sends = sends_per_version(first, second, ratio)
    assert told_apart(first, second, ratio, sends) == pytest.approx(0.8, abs=0.02)
    equal = (first + second) / (1 + ratio)
    assert told_apart(equal, ratio * equal, ratio, sends) == pytest.approx(0.05, abs=0.01)


def told_apart(first, second, ratio, sends):
    """Return how often a test tells the second from a multiple of the first."""
    rng = np.random.default_rng(0)
    one, other = (rng.binomial(sends, rate, 20_000) / sends for rate in (first, second))
    equal = (one + other) / (1 + ratio)
    variance = ratio * equal * (1 - ratio * equal) + ratio**2 * equal * (1 - equal)
    z = (other - ratio * one) / np.sqrt(variance / sends)
    return np.mean(np.abs(z) > norm.ppf(0.975))


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.1), (0.5, 1.2), (0.3, 0.3)])
def test_impossible_comparisons_have_no_number(first, second):
    assert sends_per_version(first, second) is None
