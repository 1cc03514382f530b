"""Performance targets: a measured figure, its required bound and its further aim."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.common.statistics import figure_text

SMALL = 0.1  # bounds below are printed with a digit more


@dataclass(frozen=True)
class PerformanceTarget:
    """The bound and the aim of one figure of results.json."""

    name: str  # the figure's key in results.json
    title: str
    bound: float  # the least that the figure must reach; the most, if less is better
    aim: float
    # Printed unless the whole interval passes the bound: the cause, and what was tried.
    tried: str = ""
    less_is_better: bool = False
    digits: int | None = None  # after the point; by default as many as the bound needs

    def row(self, figure: Mapping[str, float]) -> list[str]:
        """Return a table row: title, figure, bound, aim, verdict.

        What the interval's nearer end passes is met. If only the median passes the bound, that is
        said: another run may miss it. A miss is the median's, in percent.
        """
        digits = self.digits
        if digits is None:
            digits = 4 if self.bound < SMALL else 3
        measured = f"{figure['median']:.{digits}f}"
        if figure["low"] != figure["high"]:
            measured = figure_text(figure, digits)
        sign = "≤ " if self.less_is_better else ""
        return [
            self.title,
            measured,
            f"{sign}{self.bound:g}",
            f"{sign}{self.aim:g}",
            self._verdict(figure["median"], figure["high" if self.less_is_better else "low"]),
        ]

    def _verdict(self, median: float, end: float) -> str:
        direction = -1 if self.less_is_better else 1
        if direction * (median - self.bound) < 0:
            miss = f" by {abs(median - self.bound) / abs(self.bound):.1%}" if self.bound else ""
            return f"missed{miss}. {self.tried}".strip()
        if direction * (end - self.bound) < 0:
            return f"met, but its interval is not beyond the bound. {self.tried}".strip()
        return "met" if direction * (end - self.aim) < 0 else "aim reached"


def single(value: float) -> dict[str, float]:
    """Return a value measured once as a figure without an interval."""
    return dict.fromkeys(("median", "low", "high"), value)
