"""The head of one rank: features of an image become a score; higher ones are preferred.

The difference of two images' scores is the log odds that the first one has the higher true score
(Bradley and Terry, 1952), if both are of the same uploader, or whatever the ranks were learned
within. A scale was fitted for that to images that neither the network nor the head had seen. An
image's percentile is among those.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from augrank.arrays import Float32Array, Float64Array
from augrank.models.scorers import HeadSpec, Scorer, read_scorer, without_array


class RankHeadSpec(HeadSpec, frozen=True):
    """A head, as run.json and bundle.json describe it."""

    rank: str  # name of the score that images are ranked by
    within: str | None  # whose images were compared, such as uploader; None: all images


@dataclass(frozen=True)
class RankCalibration:
    """What was fitted to the calibration images."""

    scale: float  # that scores are divided by
    scores: Float32Array  # (n,) of the calibration images, divided by it, ascending

    @property
    def median(self) -> float:
        """The middle score."""
        return float(np.median(self.scores))


class RankHead:
    """A loaded head. Thread-safe."""

    def __init__(self, spec: RankHeadSpec, scorer: Scorer, calibration: RankCalibration) -> None:
        self.spec, self._scorer, self.calibration = spec, scorer, calibration

    @classmethod
    def load(cls, spec: RankHeadSpec, directory: Path) -> Self:
        """Read the files of a head from a run or a bundle.

        Raises:
            BundleError: a file cannot be read, or does not fit the description.
        """
        scorer, arrays = read_scorer(spec, directory, spec.rank, outputs=1)
        try:
            calibration = RankCalibration(float(arrays["scale"]), arrays["scores"])
        except KeyError as error:
            raise without_array(directory / spec.file, error) from error
        return cls(spec, scorer, calibration)

    def scores(self, features: Float32Array) -> Float64Array:
        """Return the scores of images, float64 (N,).

        Args:
            features: float32 (N, F).
        """
        return self._scorer(features)[:, 0].astype(np.float64) / self.calibration.scale

    def percentiles(self, scores: Float64Array) -> Float64Array:
        """Return how many of 100 calibration images have a lower score, (N,); ties count half."""
        known = self.calibration.scores
        below = np.searchsorted(known, scores, "left") + np.searchsorted(known, scores, "right")
        return np.asarray(50 * below / len(known), np.float64)

    def probabilities(self, scores: Float64Array) -> Float64Array:
        """Return the probability that each image beats the median calibration image, (N,)."""
        return np.asarray((1 + np.tanh((scores - self.calibration.median) / 2)) / 2, np.float64)
