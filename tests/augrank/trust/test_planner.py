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


def test_the_number_has_the_power_that_it_promises():
    first, second = 0.2, 0.25
    sends = sends_per_version(first, second)
    rng = np.random.default_rng(0)
    one, other = (rng.binomial(sends, rate, 20_000) / sends for rate in (first, second))
    pooled = (one + other) / 2
    z = (other - one) / np.sqrt(2 * pooled * (1 - pooled) / sends)
    assert np.mean(np.abs(z) > norm.ppf(0.975)) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.1), (0.5, 1.2), (0.3, 0.3)])
def test_impossible_comparisons_have_no_number(first, second):
    assert sends_per_version(first, second) is None
