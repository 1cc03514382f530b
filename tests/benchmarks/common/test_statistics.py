import numpy as np
import pytest

from benchmarks.common.statistics import Median, figure_text


def test_the_median_and_its_interval():
    values = [1.0, 2.0, 3.0, 3.0, 4.0, 100.0]
    median = Median.of(values)
    assert median.median == 3.0
    assert 1.0 <= median.low < 3.0 < median.high < 100.0
    assert Median.of(values[:5]) == Median(3.0, 1.0, 4.0)  # so few have a range
    assert Median.of([5.0] * 9) == Median(5.0, 5.0, 5.0)


def test_ratios_are_of_pairs():
    assert Median.of_ratios([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == Median(3.0, 2.0, 4.0)


def test_the_ratio_of_percentiles_resamples_each_side():
    rng = np.random.default_rng(0)
    above, below = rng.normal(100, 5, 400), rng.normal(10, 0.5, 300)
    ratio = Median.of_percentile_ratio(above, below, percents=(99.0, 50.0))
    expected = np.percentile(above, 99) / np.percentile(below, 50)
    assert ratio.median == pytest.approx(expected, abs=1e-4)
    assert 0.95 * expected < ratio.low < expected < ratio.high < 1.05 * expected
    assert ratio == Median.of_percentile_ratio(above, below, percents=(99.0, 50.0))


def test_figures_are_text():
    assert str(Median(12.3, 12.1, 12.6)) == "12.30 (12.10 to 12.60)"
    assert figure_text({"median": 12.3, "low": 12.1, "high": 12.6}, 0) == "12 (12 to 13)"
