"""The head of one label: features of an image become probabilities of the label's classes.

A linear head is one matrix product; an XGBoost head walks one group of trees per class. Their
log odds are divided by a temperature (Guo et al., 2017), which was fitted to images that neither
the network nor the head had seen, and so were the scores that prediction sets are made with.

A prediction set holds the classes that are probable enough: those whose score, 1 - p, is at most a
quantile of the scores that the right classes of the calibration images had. It has the right class
for the stated share of images (split conformal prediction; Sadinle et al., 2019), if they are like
those. The most probable class is always in it.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from augrank.arrays import Float32Array, Float64Array
from augrank.models.scorers import HeadSpec, Scorer, read_scorer, without_array


class LabelHeadSpec(HeadSpec, frozen=True):
    """A head, as run.json and bundle.json describe it."""

    label: str
    classes: tuple[str, ...] = Field(min_length=2)


@dataclass(frozen=True)
class LabelCalibration:
    """What was fitted to the calibration images.

    Attributes:
        temperature: that log odds are divided by.
        scores: (n,) 1 - p of the right class of each image, ascending.
    """

    temperature: float
    scores: Float32Array

    def threshold(self, coverage: float) -> float:
        """Return the least probability of a class in a set; below 0 if too few images are known.

        Args:
            coverage: share of images whose set has the right class.
        """
        rank = math.ceil((len(self.scores) + 1) * coverage)
        if rank > len(self.scores):
            return -1.0
        return 1.0 - float(self.scores[rank - 1])


class LabelHead:
    """A loaded head. Thread-safe."""

    def __init__(self, spec: LabelHeadSpec, scorer: Scorer, calibration: LabelCalibration) -> None:
        self.spec, self._scorer, self.calibration = spec, scorer, calibration

    @classmethod
    def load(cls, spec: LabelHeadSpec, directory: Path) -> Self:
        """Read the files of a head from a run or a bundle.

        Raises:
            BundleError: a file cannot be read, or does not fit the description.
        """
        scorer, arrays = read_scorer(spec, directory, spec.label, len(spec.classes))
        try:
            calibration = LabelCalibration(float(arrays["temperature"]), arrays["scores"])
        except KeyError as error:
            raise without_array(directory / spec.file, error) from error
        return cls(spec, scorer, calibration)

    def probabilities(self, features: Float32Array) -> Float64Array:
        """Return the probabilities of the classes, float64 (N, K).

        Args:
            features: float32 (N, F).
        """
        return softmax(self._scorer(features), self.calibration.temperature)

    def sets(self, probabilities: Float64Array, coverage: float) -> NDArray[np.bool_]:
        """Return which classes are in the prediction sets, (N, K).

        Args:
            probabilities: (N, K).
            coverage: share of images whose set has the right class.
        """
        # Stored as float32, whose rounding must not exclude a class that is at the threshold.
        inside = probabilities >= self.calibration.threshold(coverage) - 1e-6
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return np.asarray(inside, np.bool_)


def softmax(scores: Float32Array, temperature: float) -> Float64Array:
    """Return probabilities of log odds (N, K) at a temperature, float64 (N, K)."""
    tempered = scores.astype(np.float64) / temperature
    shares = np.exp(tempered - tempered.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))
