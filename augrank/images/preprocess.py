"""Preprocess working images into the backbone's input: the only module that knows the layout."""

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.images.decode import RgbImage

# Statistics of the ImageNet training set, as torchvision publishes them for its weights.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
KEPT_ROWS = 64  # of a thread's batch memory: 39 MB at 224 px


class Normalizer:
    """Scales uint8 RGB to zero mean and unit variance per channel, straight into a batch.

    A pixel has 256 values, so ``(x / 255 - mean) / std`` is a table of 256 floats per channel.
    """

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        scale = (1.0 / (255.0 * np.asarray(std, np.float64))).astype(np.float32)
        shift = (-np.asarray(mean, np.float64) / np.asarray(std, np.float64)).astype(np.float32)
        values = np.arange(256, dtype=np.float32)
        self._tables = values * scale[:, None] + shift[:, None]  # (3, 256)
        self._interleaved = self._tables.T[None].copy()  # (1, 256, 3)

    def into(self, image: RgbImage, out: NDArray[np.float32]) -> None:
        """Write one image.

        Args:
            image: uint8 (H, W, 3), RGB.
            out: float32 (3, H, W), contiguous: one row of the batch.
        """
        for channel, table in enumerate(self._tables):
            cv2.LUT(cv2.extractChannel(image, channel), table, out[channel])

    def into_channels_last(self, image: RgbImage, out: NDArray[np.float32]) -> None:
        """Write one image, channels last.

        Args:
            image: uint8 (H, W, 3), RGB.
            out: float32 (H, W, 3), contiguous.
        """
        cv2.LUT(image, self._interleaved, out)

    def batch(self, images: list[RgbImage]) -> NDArray[np.float32]:
        """Stack images uint8 (H, W, 3) to float32 (N, 3, H, W)."""
        height, width = images[0].shape[:2]
        out = np.empty((len(images), 3, height, width), np.float32)
        for row, image in zip(out, images, strict=True):
            self.into(image, row)
        return out


class BatchMemory:
    """A float32 (N, 3, S, S) buffer for each thread, reused for its next request.

    Fresh memory of this size comes from the kernel page by page, which costs as much as filling it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept = threading.local()

    def rows(self, count: int) -> NDArray[np.float32]:
        """Return memory for ``count`` images, with undefined contents."""
        if count > KEPT_ROWS:
            return np.empty((count, 3, self._size, self._size), np.float32)
        kept: NDArray[np.float32] | None = getattr(self._kept, "rows", None)
        if kept is None or len(kept) < count:
            kept = self._kept.rows = np.empty((count, 3, self._size, self._size), np.float32)
        return kept[:count]
