"""The mean score of an image's versions, beyond what its own score lets expect."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array


@dataclass(frozen=True, eq=False)
class ImageMeans:
    """Means over the outcomes of each of I images, (I,)."""

    image: NDArray[np.int64]  # (R,) of each outcome, in 0 .. I - 1
    image_score: Float64Array
    version_score: Float64Array
    shown: Float64Array  # share of the outcomes with a changed version

    @classmethod
    def of(
        cls,
        image: NDArray[np.int64],
        changed: NDArray[np.bool_],
        weight: Float64Array,
        scores: tuple[Float64Array, Float64Array],
    ) -> Self:
        """Average R outcomes.

        Args:
            image: (R,) number of the original.
            changed: (R,) whether a version was shown, and not the unchanged image.
            weight: (R,) number of outcomes.
            scores: (R,) of the unchanged image, and of the version less that.
        """
        number = np.unique(image, return_inverse=True)[1]
        outcomes = np.maximum(np.bincount(number, weight), 1e-9)
        parts = (*scores, changed.astype(np.float64))
        return cls(number, *(np.bincount(number, weight * part) / outcomes for part in parts))

    @property
    def _expected_by(self) -> Float64Array:
        """What the mean version score is expected by, (I, 2): nothing where none was shown."""
        return np.stack([self.shown, self.shown * self.image_score], axis=1)

    def usual(self) -> Float64Array:
        """Return how the mean version score depends on an image's own score, (2,).

        Noise in an image's own score moves both, in opposite directions.
        """
        usual = np.linalg.lstsq(self._expected_by, self.version_score, rcond=None)[0]
        return np.asarray(usual, np.float64)

    def unusual(self, usual: Float64Array) -> Float64Array:
        """Return each outcome's mean version score of its image, less the usual one, (R,).

        Args:
            usual: of ``usual``.

        Returns:
            NaN for images of which only the unchanged version was shown.
        """
        unusual = self.version_score - self._expected_by @ usual
        return np.asarray(np.where(self.shown > 0, unusual, np.nan)[self.image])
