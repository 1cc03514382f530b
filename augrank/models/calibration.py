"""Calibration: a monotone curve from a predicted probability to a calibrated one.

The curves compared at training: none, Platt (1999), beta (Kull et al., 2017) and Venn-Abers
(Vovk and Petej, 2014).
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from augrank.arrays import Float64Array

EPSILON = 1e-9  # of probabilities, from 0 and 1


class NoCalibration(BaseModel, frozen=True, extra="forbid"):
    """The identity."""

    kind: Literal["none"] = "none"

    @property
    def steepness(self) -> float:
        """The change of calibrated log odds with predicted ones."""
        return 1.0

    def __call__(self, probability: Float64Array) -> Float64Array:
        """Return the probabilities unchanged."""
        return probability


class PlattCalibration(BaseModel, frozen=True, extra="forbid"):
    """``1 / (1 + exp(-(scale * log odds + shift)))``."""

    kind: Literal["platt"] = "platt"
    scale: float = Field(gt=0)
    shift: float

    @property
    def steepness(self) -> float:
        """The change of calibrated log odds with predicted ones."""
        return self.scale

    def __call__(self, probability: Float64Array) -> Float64Array:
        """Return the calibrated probabilities, of the same shape."""
        return _probability(self.scale * log_odds(probability) + self.shift)


class BetaCalibration(BaseModel, frozen=True, extra="forbid"):
    """``1 / (1 + exp(-(a log p - b log(1 - p) + shift)))``."""

    kind: Literal["beta"] = "beta"
    a: float = Field(ge=0)
    b: float = Field(ge=0)
    shift: float

    @property
    def steepness(self) -> float:
        """The largest change of calibrated log odds with predicted ones."""
        return max(self.a, self.b)

    def __call__(self, probability: Float64Array) -> Float64Array:
        """Return the calibrated probabilities, of the same shape."""
        inside = np.clip(probability, EPSILON, 1 - EPSILON)
        odds = self.a * np.log(inside) - self.b * np.log1p(-inside) + self.shift
        return _probability(odds)


class VennAbersCalibration(BaseModel, frozen=True, extra="forbid"):
    """``p1 / (1 - p0 + p1)``, where p0 and p1 are isotonic fits with the case itself as 0 or 1."""

    kind: Literal["venn_abers"] = "venn_abers"
    at: tuple[float, ...]  # predicted probabilities, ascending
    calibrated: tuple[float, ...]  # at these, ascending; between them linear

    @property
    def steepness(self) -> float:
        """The change of calibrated log odds with predicted ones, by least squares."""
        inner = slice(1, -1)  # the ends are 0 and 1
        predicted = log_odds(np.array(self.at[inner]))
        if len(predicted) < 2:
            return 1.0
        return float(np.polyfit(predicted, log_odds(np.array(self.calibrated[inner])), 1)[0])

    def __call__(self, probability: Float64Array) -> Float64Array:
        """Return the calibrated probabilities, of the same shape."""
        return np.asarray(np.interp(probability, self.at, self.calibrated), np.float64)


def log_odds(probability: Float64Array) -> Float64Array:
    """Return the log odds of probabilities; of those within EPSILON of 0 or 1, of EPSILON."""
    inside = np.clip(probability, EPSILON, 1 - EPSILON)
    return np.asarray(np.log(inside) - np.log1p(-inside), np.float64)


def _probability(odds: Float64Array) -> Float64Array:
    """Return probabilities of log odds; beyond 700, exp overflows."""
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -700, 700))), np.float64)


Calibration = Annotated[
    NoCalibration | PlattCalibration | BetaCalibration | VennAbersCalibration,
    Field(discriminator="kind"),
]
