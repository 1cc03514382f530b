"""Comparison of an exported graph with training, and its tolerances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from augrank.bundle.recommend_spec import ParityFigures
from augrank.bundle.spec import Precision
from augrank.errors import AugrankError
from augrank.models.engines import Device

DECIMALS = 6  # of probabilities, beyond which differences count as ties


class ParityError(AugrankError):
    """The export does not answer as the trained model does."""

    code = "parity"


@dataclass(frozen=True)
class EngineConfig:
    """A graph's precision and the device that computes it."""

    precision: Precision
    device: Device = "cpu"

    @property
    def label(self) -> str:
        """A name such as ``int8`` or ``int8, openvino``."""
        return self.precision if self.device == "cpu" else f"{self.precision}, {self.device}"

    @property
    def tolerance(self) -> "Tolerance":
        """Its tolerance; OpenVINO computes an fp32 graph in bfloat16 if the CPU can."""
        if (self.precision, self.device) == ("fp32", "openvino"):
            return BFLOAT16
        return TOLERANCES[self.precision]


@dataclass(frozen=True)
class Tolerance:
    """The minimum figures of a graph that may be used.

    Trees jump when an input crosses a split, so the largest single difference is bounded loosely
    and the ranking tightly. int8 and bfloat16 (eight bits of mantissa, fp16 has eleven) are
    approximations and have wider tolerances.
    """

    embedding_cosine: float
    rank_correlation: float
    top1_agreement: float
    max_probability_difference: float


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(0.9999, 0.995, 0.98, 0.10),
    "fp16": Tolerance(0.999, 0.99, 0.97, 0.20),
    "int8": Tolerance(0.99, 0.97, 0.95, 0.35),
}
BFLOAT16 = Tolerance(0.999, 0.985, 0.97, 0.35)


def compare(
    expected: NDArray[np.float64],
    got: NDArray[np.float64],
    directions: Sequence[str],
    cosine: float,
) -> ParityFigures:
    """Compute the figures of the gate.

    Args:
        expected: reference probabilities, float64 (Q, A).
        got: the archive's probabilities, float64 (Q, A).
        directions: of each request's target, Q times maximize or minimize.
        cosine: the lowest cosine similarity of the embeddings.
    """
    sign = np.array([1.0 if each == "maximize" else -1.0 for each in directions])[:, None]
    rows = np.arange(len(expected))
    best = np.argmax(np.round(got, DECIMALS) * sign, axis=1)
    # If the reference considers several candidates equally good, any of them is the best.
    agrees = (expected * sign)[rows, best] >= (expected * sign).max(axis=1) - 1e-4
    return ParityFigures(
        images=len(expected),
        max_probability_difference=round(float(np.abs(expected - got).max()), 6),
        rank_correlation=round(rank_correlation(expected, got), 6),
        top1_agreement=round(float(agrees.mean()), 6),
        embedding_cosine=round(cosine, 6),
    )


def shortfalls(figures: ParityFigures, tolerance: Tolerance) -> list[str]:
    """Describe each figure that misses its tolerance; empty if the gate is passed."""
    missed = []
    for name in ("embedding_cosine", "rank_correlation", "top1_agreement"):
        if not getattr(figures, name) >= getattr(tolerance, name):  # NaN misses it too
            missed.append(f"{name} {getattr(figures, name)} (at least {getattr(tolerance, name)})")
    if not figures.max_probability_difference <= tolerance.max_probability_difference:
        missed.append(
            f"max_probability_difference {figures.max_probability_difference} "
            f"(at most {tolerance.max_probability_difference})"
        )
    return missed


def min_cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the lowest cosine similarity between the rows of two arrays, float32 (A, W) each."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.min(np.sum(first * second, axis=1) / np.maximum(norms, 1e-12)))


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation over all entries; 1 for two equal constants, else 0."""
    rounded = [np.round(array.ravel(), DECIMALS) for array in (first, second)]
    if any(np.ptp(values) == 0 for values in rounded):
        return 1.0 if np.allclose(first, second, atol=1e-4) else 0.0
    return float(spearmanr(*rounded).statistic)
