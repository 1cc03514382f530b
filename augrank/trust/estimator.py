"""A target's estimator: head, posterior and calibration give draws of probabilities."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.models.calibration import EPSILON, Calibration, log_odds
from augrank.models.head import Head, HeadRows, HeadSpec
from augrank.trust.posterior import ImageEffects, Posterior, probabilities

NEWTON_STEPS, MIN_SLOPE, MAX_STEP = 6, 0.05, 5.0  # of the shift of calibrated draws


class Estimator:
    """Predicts draws of the probability of one target. Thread-safe."""

    def __init__(self, head: Head, posterior: Posterior) -> None:
        self.spec, self._head, self._posterior = head.spec, head, posterior

    @classmethod
    def load(cls, spec: HeadSpec, directory: Path) -> Self:
        """Read the files of a head from a run or a bundle.

        Raises:
            BundleError: a file cannot be read.
        """
        return cls(Head.load(spec, directory), Posterior.load(directory / spec.posterior))

    @property
    def draws(self) -> int:
        """The number of draws of each probability."""
        return self._posterior.draws

    @property
    def catalogue(self) -> ImageEffects:
        """What is known of the run's catalogue, by row."""
        return self._posterior.catalogue

    def score(self, rows: HeadRows) -> Float32Array:
        """Return what XGBoost adds to augmentation and context, log odds, float32 (N,)."""
        return self._posterior.score(self._head.margin(rows), self._levels(rows), rows.context)

    def candidates(self, rows: HeadRows, image: ImageEffects) -> Float64Array:
        """Predict versions of one image; the first row is the image itself.

        Args:
            rows: of the candidates, N.
            image: what is known of the image; one.

        Returns:
            Probabilities, float64 (M, N).
        """
        score, levels = self.score(rows), self._levels(rows)
        effect = self._posterior.image_effects(image, np.zeros(1, np.int64), levels[:1])
        versions = self._posterior.version_effects(np.arange(len(score)), levels)
        unchanged = self._posterior.unchanged_effects(image, effect, versions[:, :1])
        effect = np.concatenate([effect, effect + versions[:, 1:] - unchanged], axis=1)
        image_score = np.repeat(score[:1] + image.correction, len(score))
        return self._draw(rows, image_score, score - score[0], effect)

    def images(
        self, rows: HeadRows, score: Float32Array, images: ImageEffects, first: int = 0
    ) -> Float64Array:
        """Predict N different images.

        Args:
            rows: N.
            score: (N,) of ``score``.
            images: what is known of them.
            first: number of the first image; images of different numbers are independent.

        Returns:
            Probabilities, float64 (M, N).
        """
        numbers = first + np.arange(len(score))
        effect = self._posterior.image_effects(images, numbers, self._levels(rows))
        return self._draw(rows, score + images.correction, np.zeros_like(score), effect)

    def history(
        self,
        rows: HeadRows,
        image: NDArray[np.int64],
        version: NDArray[np.int64],
        image_score: Float32Array,
    ) -> Float64Array:
        """Predict rows of a history: versions of several images without outcomes.

        Args:
            rows: N.
            image: (N,) number of each row's image.
            version: (N,) number of each row's version, such as that of its embedding.
            image_score: (N,) score of the row's unchanged image in its context.

        Returns:
            Probabilities, float64 (M, N).
        """
        effect = self._posterior.new_effects(image, version, self._levels(rows))
        return self._draw(rows, image_score, self.score(rows) - image_score, effect)

    def rating(self, score: Float32Array, images: ImageEffects) -> Float32Array:
        """Return log odds that order different images of one context by mean, float32 (N,)."""
        slope = self._posterior.image_slope.mean()
        return np.asarray(slope * (score + images.correction) + images.mean)

    def _levels(self, rows: HeadRows) -> NDArray[np.int64]:
        return rows.levels(known=self.spec.augmentation_known)

    def _draw(
        self,
        rows: HeadRows,
        image_score: Float32Array,
        version_score: Float32Array,
        effect: Float32Array,
    ) -> Float64Array:
        odds = self._posterior.log_odds(
            self._levels(rows), rows.context, image_score, version_score
        )
        return _calibrated(odds + effect, self.spec.calibration)


def _calibrated(odds: Float32Array, calibration: Calibration) -> Float64Array:
    """Return draws of probabilities whose means are about those of the curve.

    The curve itself may be flat, and would make an interval a point; so draws keep their distances
    in log odds, or move apart by as much as the curve does on the whole.

    Args:
        odds: draws of log odds, (M, N).
        calibration: the curve of the mean.
    """
    drawn = probabilities(odds)
    if calibration.kind == "none":
        return drawn
    center = odds.mean(axis=0)
    apart = max(1.0, calibration.steepness) * (odds - center)
    shift = wanted = log_odds(calibration(drawn.mean(axis=0)))
    for _ in range(NEWTON_STEPS):  # in log odds, where the mean is nearly linear in the shift
        drawn = probabilities(apart + shift)
        mean = drawn.mean(axis=0)
        slope = (drawn * (1 - drawn)).mean(axis=0) / np.maximum(mean * (1 - mean), EPSILON)
        step = (wanted - log_odds(mean)) / np.maximum(slope, MIN_SLOPE)
        shift = shift + np.clip(step, -MAX_STEP, MAX_STEP)
    return probabilities(apart + shift)
