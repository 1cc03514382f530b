import pytest

from benchmarks.common.targets import PerformanceTarget, single

MORE = PerformanceTarget("rate", "rate of answers", 2.0, 4.0, "The cores are shared.")
LESS = PerformanceTarget("share", "share of time", 0.05, 0.01, less_is_better=True)


@pytest.mark.parametrize(
    ("target", "low", "high", "verdict"),
    [
        (MORE, 4.0, 5.0, "aim reached"),
        (MORE, 3.9, 5.0, "met"),
        (MORE, 1.5, 5.0, "met, but its interval is not beyond the bound. The cores are shared."),
        (MORE, 1.0, 2.0, "missed by 25.0%. The cores are shared."),
        (LESS, 0.0, 0.01, "aim reached"),
        (LESS, 0.0, 0.05, "met"),
        (LESS, 0.0, 0.06, "met, but its interval is not beyond the bound."),
        (LESS, 0.05, 0.07, "missed by 20.0%."),
        (PerformanceTarget("accuracy", "accuracy", -0.01, 0.0), -0.04, 0.0, "missed by 100.0%."),
        (PerformanceTarget("failed", "failed", 0.0, 0.0, less_is_better=True), 3, 3, "missed."),
    ],
)
def test_the_median_may_miss_and_the_nearer_end_of_the_interval_may(target, low, high, verdict):
    row = target.row({"median": (low + high) / 2, "low": low, "high": high})
    assert row[-1] == verdict


def test_a_row_has_the_figure_and_its_bounds():
    assert MORE.row(single(4.5)) == ["rate of answers", "4.500", "2", "4", "aim reached"]
    figure = {"median": 0.02, "low": 0.01, "high": 0.03}
    assert LESS.row(figure)[1:4] == ["0.0200 (0.0100 to 0.0300)", "≤ 0.05", "≤ 0.01"]
    count = PerformanceTarget("lost", "lost", 0, 0, less_is_better=True, digits=0)
    assert count.row(single(3)) == ["lost", "3", "≤ 0", "≤ 0", "missed."]
