"""Medians with intervals, and what a figure has to be read with: machine, threads, versions."""

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from augrank.bundle.load import library_versions
from augrank.resources import usable_cores

RESAMPLES = 2000
LEAST_SAMPLES = 6  # below, draws from a sample tell less than its range


@dataclass(frozen=True)
class Median:
    """A median and its 95 % bootstrap interval, or the range of fewer than six values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike, digits: int = 4) -> "Median":
        """Of repeated measurements, (N,)."""
        samples = np.asarray(values, np.float64)
        if len(samples) < LEAST_SAMPLES:
            return cls(*(round(float(of(samples)), digits) for of in (np.median, np.min, np.max)))
        rng = np.random.default_rng(0)
        draws = rng.choice(samples, (RESAMPLES, len(samples)))
        low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
        return cls(*(round(float(value), digits) for value in (np.median(samples), low, high)))

    @classmethod
    def of_quotient(
        cls,
        above: ArrayLike,
        below: ArrayLike,
        *,
        percents: tuple[float, float] = (50.0, 50.0),
        digits: int = 4,
    ) -> "Median":
        """A percentile of one sample over a percentile of another, each drawn again by itself."""
        rng = np.random.default_rng(0)
        samples = [np.asarray(values, np.float64) for values in (above, below)]
        parts = [
            np.percentile(rng.choice(values, (RESAMPLES, len(values))), percent, axis=1)
            for values, percent in zip(samples, percents, strict=True)
        ]
        point = np.percentile(samples[0], percents[0]) / np.percentile(samples[1], percents[1])
        low, high = np.percentile(parts[0] / parts[1], [2.5, 97.5])
        return cls(*(round(float(value), digits) for value in (point, low, high)))

    def shown(self, digits: int = 2) -> str:
        """``12.30 (12.10 to 12.60)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def to_dict(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


def machine(threads: int) -> dict[str, Any]:
    """What ran the benchmark."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": threads,
        "python": platform.python_version(),
        "libraries": library_versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
