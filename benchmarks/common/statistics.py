"""Medians with bootstrap intervals."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
MIN_SAMPLES = 6  # with fewer, a bootstrap is less informative than the range


@dataclass(frozen=True)
class Median:
    """A median, in the unit of its samples, and its 95 % bootstrap interval.

    With fewer than six samples, the interval is their range.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike, digits: int = 4) -> "Median":
        """Compute the median of repeated measurements, (N,), rounded to ``digits``."""
        samples = np.asarray(values, np.float64)
        if len(samples) < MIN_SAMPLES:
            return cls(*(round(float(f(samples)), digits) for f in (np.median, np.min, np.max)))

        def median(resampled: NDArray[np.float64], axis: int) -> Any:
            return np.median(resampled, axis=axis)

        return cls(*_rounded(float(np.median(samples)), _interval((samples,), median), digits))

    @classmethod
    def of_ratios(cls, numerators: ArrayLike, denominators: ArrayLike) -> "Median":
        """Compute the median ratio of paired measurements, (N,) each, round by round."""
        return cls.of(np.asarray(numerators, np.float64) / np.asarray(denominators, np.float64))

    @classmethod
    def of_percentile_ratio(
        cls,
        numerators: ArrayLike,
        denominators: ArrayLike,
        *,
        percents: tuple[float, float] = (50.0, 50.0),
        digits: int = 4,
    ) -> "Median":
        """Divide a percentile of one sample by one of another; each is resampled separately."""
        samples = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)

        def ratio(above: NDArray[np.float64], below: NDArray[np.float64], axis: int = -1) -> Any:
            upper, lower = percents
            return np.percentile(above, upper, axis=axis) / np.percentile(below, lower, axis=axis)

        return cls(*_rounded(float(ratio(*samples)), _interval(samples, ratio), digits))

    def __str__(self) -> str:
        """``12.30 (12.10 to 12.60)``."""
        return figure_text(self.to_dict())

    def to_dict(self) -> dict[str, float]:
        """Return plain data."""
        return asdict(self)


def figure_text(figure: Mapping[str, float], digits: int = 2) -> str:
    """Format a Median's plain data as ``12.30 (12.10 to 12.60)``."""
    median, low, high = (f"{figure[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def _interval(samples: tuple[NDArray[np.float64], ...], statistic: Any) -> tuple[float, float]:
    from scipy.stats import bootstrap  # takes half a second to import

    interval = bootstrap(
        samples, statistic, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=0
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _rounded(point: float, interval: tuple[float, float], digits: int) -> list[float]:
    return [round(value, digits) for value in (point, *interval)]
