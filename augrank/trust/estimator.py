"""A target's estimator: head, posterior and calibration give draws of probabilities."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.models.head import Head, HeadRows, HeadSpec
from augrank.trust.posterior import ImageEffects, Posterior, probabilities


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
        score = self.score(rows)
        effect = self._posterior.image_effects(image)
        effect = effect + self._posterior.version_effects(np.arange(len(score)))
        between = np.repeat(image.scores(score[:1]), len(score))
        return self._draw(rows, between, score - score[0], effect)

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
        effect = self._posterior.image_effects(images, first)
        effect = effect + self._posterior.version_effects(first + np.arange(len(score)))
        return self._draw(rows, images.scores(score), np.zeros_like(score), effect)

    def shown(
        self,
        rows: HeadRows,
        image: NDArray[np.int64],
        version: NDArray[np.int64],
        scores: Float32Array,
    ) -> Float64Array:
        """Predict rows of a history: versions of several images without outcomes.

        Args:
            rows: N.
            image: (N,) number of each row's image, from 0.
            version: (N,) number of each row's version, such as that of its embedding.
            scores: score of each image, by number.

        Returns:
            Probabilities, float64 (M, N).
        """
        effect = self._posterior.image_effects(ImageEffects.unknown(len(scores)))[:, image]
        effect = effect + self._posterior.version_effects(version)
        between = scores[image]
        return self._draw(rows, between, self.score(rows) - between, effect)

    def rating(self, score: Float32Array, images: ImageEffects) -> Float32Array:
        """Return log odds that order different images of one context by mean, float32 (N,)."""
        slope = self._posterior.slope_between.mean()
        return np.asarray(slope * images.scores(score) + images.mean)

    def _levels(self, rows: HeadRows) -> NDArray[np.int64]:
        return rows.levels(known=self.spec.augmentation_known)

    def _draw(
        self, rows: HeadRows, between: Float32Array, within: Float32Array, effect: Float32Array
    ) -> Float64Array:
        odds = self._posterior.log_odds(self._levels(rows), rows.context, between, within)
        return self.spec.calibration(probabilities(odds + effect))
