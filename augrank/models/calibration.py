"""Calibration: convert a head's raw margin to a probability."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float64Array


class Calibration(BaseModel, frozen=True, extra="forbid"):
    """Platt scaling: ``p = 1 / (1 + exp(-(scale * margin + shift)))``; Platt (1999).

    The scale is positive, so that calibration keeps the order of candidates.
    """

    scale: float = Field(default=1.0, gt=0)
    shift: float = 0.0

    def __call__(self, margin: NDArray[np.floating[Any]]) -> Float64Array:
        """Return the probabilities float64 (N,) of margins (N,), which are log odds."""
        return 1.0 / (1.0 + np.exp(-(self.scale * margin.astype(np.float64) + self.shift)))
