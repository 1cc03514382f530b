"""The bounds and the aims of the figures over all worlds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.trust.real import ALTERNATES, CANDIDATES

LARGE = 1000  # numbers from here are printed without decimals


@dataclass(frozen=True)
class TrustTarget:
    """The range that a figure must be in, and the range that it should be in."""

    name: str  # the figure's key in results.json, overall
    title: str
    bound: tuple[float, float]
    aim: tuple[float, float]
    unit: str = ""
    cause: str = ""  # printed if the bound is missed

    def row(self, overall: Mapping[str, Any]) -> list[str]:
        """Return a table row: title, figure, bound, aim, verdict."""
        figure = overall[self.name]
        bounds = self._range(self.bound), self._range(self.aim)
        if figure is None:
            return [self.title, "-", *bounds, "nothing was counted"]
        value = figure["value"]
        return [self.title, _number(value) + self.unit, *bounds, self._verdict(value)]

    def _range(self, ends: tuple[float, float]) -> str:
        low, high = map(_number, ends)
        if ends[0] == 0:
            return f"≤ {high}{self.unit}"
        return f"≥ {low}{self.unit}" if ends[1] == 1 else f"{low} to {high}{self.unit}"

    def _verdict(self, value: float) -> str:
        for ends, verdict in ((self.aim, "aim reached"), (self.bound, "met")):
            if ends[0] <= value <= ends[1]:
                return verdict
        return f"missed. {self.cause}" if self.cause else "missed"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= LARGE else f"{value:.4g}"


TARGETS = (
    TrustTarget(
        "coverage",
        "90 % intervals cover the truth",
        (0.88, 0.92),
        (0.89, 0.91),
        cause="Too wide in worlds that are simpler than the model allows for (nothing helps, "
        "images are alike); from 0.87 to 0.93 in most where images differ.",
    ),
    TrustTarget(
        "coverage_worst",
        "the same, worst stratum of all worlds",
        (0.85, 1),
        (0.87, 1),
        cause="The best of many alternates is an extreme that estimates shrink from "
        "(`alternates-features`, `-mixed`); and deviations of 0.1 in log odds, at the edge of what "
        "the outcomes show, are often taken for none (`versions-lift`).",
    ),
    TrustTarget("coverage_chosen", "the same, of recommended options", (0.85, 1), (0.88, 1)),
    TrustTarget("nothing_helps", "nothing helps: a change recommended", (0, 0.05), (0, 0.03)),
    TrustTarget("ample_power", "lift of 20 %, ample data: found", (0.8, 1), (0.9, 1)),
    TrustTarget("true_over_claimed", "true / claimed lift", (0.9, 1.1), (0.95, 1.05)),
    TrustTarget("ece", "ECE of a head", (0, 0.02), (0, 0.01)),
    TrustTarget(
        "added_ms", "request, six candidates, 219 alternates: added", (0, 5), (0, 2), " ms"
    ),
    TrustTarget("added_bytes", "bundle of nine targets: added", (0, 2e6), (0, 1e6), " bytes"),
)
# Of a bundle of real images, by world.
REAL_TARGETS = (
    (CANDIDATES, TrustTarget("error", "candidates: mean error", (0, 0.05), (0, 0.03))),
    (CANDIDATES, TrustTarget("regret", "candidates: regret", (0, 0.02), (0, 0.005))),
    (CANDIDATES, TrustTarget("false_claims", "candidates: false claims", (0, 0.05), (0, 0.02))),
    (ALTERNATES, TrustTarget("false_claims", "alternates: false claims", (0, 0.05), (0, 0.02))),
)
