"""Small changes that leave labels true: an image is shown shifted, zoomed, perhaps mirrored."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.images.augmentations import AugmentationSet
from augrank.images.decode import WHITE, RgbImage

SHIFT, ZOOM = 0.025, 0.05  # shares of the side and of the scale, each way by itself
FLIPPING = ("flip", "transpose", "d4", "rot90", "rotate90")
Windows = NDArray[np.int32]  # (N, 5): left, top, width, height in pixels; 1 where mirrored


def may_flip(augmentations: AugmentationSet) -> bool:
    """Whether a mirrored original cannot be mistaken for one of the augmentations."""
    operations = [step.op.lower() for item in augmentations.augmentations for step in item.steps]
    return not any(word in operation for operation in operations for word in FLIPPING)


@dataclass(frozen=True)
class Jitter:
    """Windows to look at images through, drawn by seed and epoch for each sample."""

    seed: int
    flip: bool

    def windows(self, epoch: int, count: int, side: int) -> Windows:
        """A window for each of so many samples of images of this side."""
        rng = np.random.default_rng((self.seed, epoch, count))
        extent = side / (1 + rng.uniform(-ZOOM, ZOOM, (count, 2)))
        corner = (side - extent) / 2 + rng.uniform(-SHIFT, SHIFT, (count, 2)) * side
        mirrored = rng.random(count) < 0.5 if self.flip else np.zeros(count)
        return np.rint(np.column_stack([corner, extent, mirrored])).astype(np.int32)


def no_jitter(count: int, side: int) -> Windows:
    """Windows that show images as they are."""
    return np.tile(np.array([0, 0, side, side, 0], np.int32), (count, 1))


def look(image: RgbImage, window: NDArray[np.int32], size: int) -> RgbImage:
    """What is seen through a window, white beyond the image, at another size.

    Args:
        image: uint8 (S, S, 3).
        window: left, top, width, height, mirrored.
        size: side of the outcome.

    Returns:
        uint8 (size, size, 3).
    """
    left, top, width, height, mirrored = window.tolist()
    side = image.shape[0]
    right, bottom = left + width, top + height
    seen = image[max(top, 0) : min(bottom, side), max(left, 0) : min(right, side)]
    beyond = max(-top, 0), max(bottom - side, 0), max(-left, 0), max(right - side, 0)
    if any(beyond):
        white = (WHITE, WHITE, WHITE)
        seen = cv2.copyMakeBorder(seen, *beyond, cv2.BORDER_CONSTANT, value=white)  # type: ignore[assignment]
    if seen.shape != (size, size, 3):
        seen = cv2.resize(seen, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if mirrored:
        seen = cv2.flip(seen, 1)  # type: ignore[assignment]
    return seen
