"""Working pictures to what the backbone eats: the one place that knows the layout."""

import numpy as np
from numpy.typing import NDArray

from augrank.decode import Picture

# Statistics of the ImageNet training set, as torchvision publishes them for its weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalizer:
    """Scales uint8 RGB to zero mean and unit variance per channel, straight into a batch.

    ``(x / 255 - mean) / std`` is one multiplication and one addition once the constants are
    folded, both done in float32.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._scale = (1.0 / (255.0 * np.asarray(std, np.float64))).astype(np.float32)
        self._shift = (-np.asarray(mean, np.float64) / np.asarray(std, np.float64)).astype(
            np.float32
        )

    def into(self, picture: Picture, out: NDArray[np.float32]) -> None:
        """Write one picture.

        Args:
            picture: uint8 (H, W, 3), RGB.
            out: float32 (3, H, W), one row of the batch.
        """
        np.multiply(picture.transpose(2, 0, 1), self._scale[:, None, None], out=out)
        out += self._shift[:, None, None]

    def batch(self, pictures: list[Picture]) -> NDArray[np.float32]:
        """Stack pictures uint8 (H, W, 3) to float32 (N, 3, H, W)."""
        height, width = pictures[0].shape[:2]
        out = np.empty((len(pictures), 3, height, width), np.float32)
        for row, picture in zip(out, pictures, strict=True):
            self.into(picture, row)
        return out
