"""Random crops: small changes that preserve labels (shift, zoom, mirror).

There are two implementations of the same crop, equal byte for byte: ``crop_and_resize`` with OpenCV
for one image, and ``crop_and_resize_batch`` with torch for a batch on the device.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from augrank.images.augmentations import AugmentationSet
from augrank.images.decode import RgbImage
from augrank.images.letterbox import WHITE

SHIFT, ZOOM = 0.025, 0.05  # at most; shares of the side and of the scale, per axis
MIRRORING_OPERATIONS = ("flip", "transpose", "d4", "rot90", "rotate90")
RESIZE_BITS = 11  # of OpenCV's fixed-point weights
CropBoxes = NDArray[np.int32]  # (N, 5): left, top, width, height in pixels; 1 if mirrored


def may_flip(augmentations: AugmentationSet) -> bool:
    """Return whether a mirrored original cannot be mistaken for one of the augmentations."""
    operations = [step.op.lower() for item in augmentations.augmentations for step in item.steps]
    return not any(word in operation for operation in operations for word in MIRRORING_OPERATIONS)


@dataclass(frozen=True)
class RandomCrops:
    """Draws a crop box for each sample of an epoch, by seed.

    Attributes:
        seed: of the boxes, and of the order of samples.
        flip: whether half of the images are mirrored.
    """

    seed: int
    flip: bool

    def boxes(self, epoch: int, count: int, side: int) -> CropBoxes:
        """Draw boxes for ``count`` samples of images of this side; they may reach beyond them."""
        rng = np.random.default_rng((self.seed, epoch, count))
        extent = side / (1 + rng.uniform(-ZOOM, ZOOM, (count, 2)))
        corner = (side - extent) / 2 + rng.uniform(-SHIFT, SHIFT, (count, 2)) * side
        mirrored = rng.random(count) < 0.5 if self.flip else np.zeros(count)
        return np.rint(np.column_stack([corner, extent, mirrored])).astype(np.int32)


def full_boxes(count: int, side: int) -> CropBoxes:
    """Return boxes that leave images unchanged."""
    return np.tile(np.array([0, 0, side, side, 0], np.int32), (count, 1))


def crop_and_resize(image: RgbImage, box: NDArray[np.int32], size: int) -> RgbImage:
    """Crop an image, white beyond its edges, and resize the crop.

    Args:
        image: uint8 (S, S, 3).
        box: left, top, width, height, mirrored.
        size: side of the result, in pixels.

    Returns:
        uint8 (size, size, 3).
    """
    left, top, width, height, mirrored = box.tolist()
    side = image.shape[0]
    right, bottom = left + width, top + height
    crop = image[max(top, 0) : min(bottom, side), max(left, 0) : min(right, side)]
    margins = max(-top, 0), max(bottom - side, 0), max(-left, 0), max(right - side, 0)
    if any(margins):
        white = (WHITE, WHITE, WHITE)
        crop = cv2.copyMakeBorder(crop, *margins, cv2.BORDER_CONSTANT, value=white)  # type: ignore[assignment]
    if crop.shape != (size, size, 3):
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if mirrored:
        crop = cv2.flip(crop, 1)  # type: ignore[assignment]
    return crop


def crop_and_resize_batch(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop and resize a batch on its device, as ``crop_and_resize`` does, byte for byte.

    Args:
        images: uint8 (B, S, S, 3).
        boxes: float32 (B, 5): left, top, width, height in whole pixels; 1 if mirrored.
        size: side of the result, in pixels.

    Returns:
        uint8 (B, size, size, 3).
    """
    near, share = _neighbours(boxes, images.shape[1], size)
    rest = (1 << RESIZE_BITS) - share
    padded = pad(images, (0, 0, 1, 1, 1, 1), value=WHITE)
    number = torch.arange(len(padded), device=padded.device)[:, None]
    line = torch.arange(padded.shape[1], device=padded.device)[:, None]

    left, right = (padded[number[..., None], line, column[:, 0, None]] for column in near)
    across = left * rest[:, 0, None, :, None] + right * share[:, 0, None, :, None]
    across >>= 4  # OpenCV continues with 16 bits
    upper, lower = (across[number, row[:, 1]] for row in near)
    for part, weight in (upper, rest), (lower, share):
        part.mul_(weight[:, 1, :, None, None]).bitwise_right_shift_(16)
    return ((upper + lower + 2) >> 2).to(torch.uint8)


def _neighbours(boxes: Tensor, side: int, size: int) -> tuple[Tensor, Tensor]:
    """Find the two pixels that each column and each row of the result lies between.

    Returns:
        Indices of the first and the second in padded images, int64 (2, B, 2, size), and the weight
        of the second in 2 ** -11, int32 (B, 2, size); columns before rows.
    """
    boxes = boxes.double()[..., None]
    corner, extent, mirrored = boxes[:, 0:2], boxes[:, 2:4], boxes[:, 4:5]
    index = torch.arange(size, dtype=torch.float64, device=boxes.device)
    columns = index + mirrored * (size - 1 - 2 * index)
    index = torch.cat([columns, index.expand_as(columns)], dim=1)
    # Pixel centres lie at halves. OpenCV, too, computes this in float64 and continues in float32.
    exact = ((index + 0.5) * (extent / size) - 0.5).float()
    first = exact.floor()
    share = ((exact - first) * (1 << RESIZE_BITS)).round_().int()
    # A box ends with its own last pixel; the part beyond the image is padding.
    inside = torch.stack([first, first + 1]).clamp_(min=0).minimum(extent - 1)
    return ((corner + inside).clamp_(-1, side) + 1).long(), share


def full_boxes_batch(images: Tensor) -> Tensor:
    """Return boxes, float32 (B, 5), that leave images, (B, S, S, 3), unchanged."""
    boxes = torch.zeros(len(images), 5, device=images.device)
    boxes[:, 2:4] = images.shape[1]
    return boxes
