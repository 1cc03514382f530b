"""GPU augmentation: the augmentations applied with torch to a batch on its device.

``augrank.images.augmentations`` defines the augmentations and ``crops`` the crops; tests compare
this module with both. Here too, pixels are bytes between steps, tables come from those modules or
from OpenCV, and sums follow OpenCV's order and rounding. So the results are equal byte for byte,
except for ``swivel``: OpenCV computes it in float32, with fused multiply-adds on CPUs that have
them. With those the results differ only where a value lies halfway between two bytes; without, one
in 2,000 may be off by one.

A batch is sorted by augmentation on the host, and each augmentation is applied to all its rows
together. A call launches about a hundred kernels, copies one short list, and never blocks.
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from augrank.errors import DataError
from augrank.images.augmentations import Augmentation, AugmentationSet, operations
from augrank.images.letterbox import WHITE
from augrank.images.preprocess import Normalizer
from training.backbone.crops import crop_and_resize_batch, full_boxes_batch

# OpenCV's fixed-point weights of red, green and blue in grey.
GREY, GREY_BITS = (9798, 19235, 3735), 15
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)  # every value, as grey


class BatchAugmenter:
    """Crops, augments and normalises batches on the network's device.

    Args:
        augmentations: the set.
        normalizer: the runtime's.
        device: where the images are.

    Raises:
        DataError: an augmentation has an operation without a torch implementation.
    """

    def __init__(
        self, augmentations: AugmentationSet, normalizer: Normalizer, device: torch.device
    ) -> None:
        self._augmentations, self._device = augmentations.augmentations, device
        others = [item.name for item in self._augmentations if not self.supports(item)]
        if others:
            raise DataError(
                "these augmentations have no GPU implementation",
                expected=f"only the operations {', '.join(OPERATIONS)}",
                got=", ".join(others),
                remedy="Apply them on the CPU, with Augmentation.apply.",
            )
        normalised = np.empty(RAMP.shape, np.float32)
        normalizer.into_channels_last(RAMP, normalised)
        black, white = normalised[0, 0], normalised[-1, -1]
        self._black = torch.from_numpy(black).to(device)
        self._step = torch.from_numpy((white - black) / 255).to(device)

    @staticmethod
    def supports(augmentation: Augmentation) -> bool:
        """Return whether an augmentation can be applied to batches."""
        return all(step.op in OPERATIONS for step in augmentation.steps)

    @classmethod
    def supports_all(cls, augmentations: AugmentationSet) -> bool:
        """Return whether every augmentation of a set can be applied to batches."""
        return all(cls.supports(item) for item in augmentations.augmentations)

    def __call__(
        self,
        images: Tensor,
        applied: NDArray[np.int64],
        boxes: Tensor | None = None,
        size: int | None = None,
    ) -> Tensor:
        """Crop, augment and normalise a batch.

        Args:
            images: uint8 (B, S, S, 3), RGB, on the device.
            applied: (B,) index in the set of the augmentation to apply, on the host.
            boxes: float32 (B, 5), on the device: crop boxes of ``crops``, whole pixels;
                by default the whole images.
            size: side of the result; by default S.

        Returns:
            float32 (B, 3, size, size) on the device, channels-last in memory.

        Raises:
            ValueError: ``applied`` does not fit the images or the set.
        """
        order, counts = self._by_augmentation(applied, len(images))
        side = images.shape[1]
        size = size or side
        if boxes is not None or size != side:
            boxes = full_boxes_batch(images) if boxes is None else boxes
            images = crop_and_resize_batch(images, boxes, size)
        groups = torch.split(images.index_select(0, order[0]), counts)
        augmented = [
            _apply(augmentation, group)
            for augmentation, group in zip(self._augmentations, groups, strict=True)
            if len(group)
        ]
        batch = torch.cat(augmented).index_select(0, order[1])
        return torch.addcmul(self._black, batch, self._step).permute(0, 3, 1, 2)

    def _by_augmentation(self, applied: NDArray[np.int64], images: int) -> tuple[Tensor, list[int]]:
        """Return the order that sorts a batch and its inverse, int64 (2, B), and counts."""
        count = len(self._augmentations)
        if applied.shape != (images,) or not ((applied >= 0) & (applied < count)).all():
            raise ValueError(
                f"expected an augmentation, 0 to {count - 1}, for each of {images} images, "
                f"got {len(applied)} of {np.unique(applied).tolist()}: apply those of this set"
            )
        order = np.argsort(applied, kind="stable")
        both = torch.from_numpy(np.stack([order, np.argsort(order)]))
        if self._device.type == "cuda":
            both = both.pin_memory()  # a copy from other memory may wait
        counts: list[int] = np.bincount(applied, minlength=count).tolist()
        return both.to(self._device, non_blocking=True), counts


def _apply(augmentation: Augmentation, images: Tensor) -> Tensor:
    for step in augmentation.steps:
        images = OPERATIONS[step.op](images, **step.params)
    return images


# Operations: (uint8 (N, S, S, 3), params) -> uint8 (N, S, S, 3)


def brightness(images: Tensor, factor: float) -> Tensor:
    """Multiply every channel by ``factor``, saturating at 255."""
    table = _brightness_table(factor, images.device)
    return table.index_select(0, images.flatten().int()).view_as(images)


def rotate(images: Tensor, quarter_turns: int) -> Tensor:
    """Turn in the plane by quarter turns, counter-clockwise."""
    return images.rot90(quarter_turns, dims=(1, 2))


def sketch(images: Tensor, sigma: float) -> Tensor:
    """Pencil drawing: grey divided by its blurred negative, white where that is white."""
    red, green, blue = images.int().unbind(-1)
    grey = (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    grey = (grey + (1 << GREY_BITS - 1)) >> GREY_BITS
    paper = 255 - _blurred(255 - grey, sigma)
    dodged = (grey * 255 / paper).round_().clamp_(max=WHITE).masked_fill_(paper == 0, WHITE)
    return dodged.to(torch.uint8)[..., None].expand_as(images)


def swivel(images: Tensor, degrees: float) -> Tensor:
    """Turn about the vertical axis, seen in perspective, on white."""
    count, side = images.shape[:2]
    index, across, down = _swivel_table(side, degrees, images.device)
    padded = pad(images, (0, 0, 1, 1, 1, 1), value=WHITE).view(count, -1, 3)
    corners = padded.index_select(1, index).view(count, 2, 2, -1, 3).float()
    left, right = corners.unbind(1)
    upper, lower = torch.lerp(left, right, across).unbind(1)
    return torch.lerp(upper, lower, down).round_().to(torch.uint8).view_as(images)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "brightness": brightness,
    "rotate": rotate,
    "sketch": sketch,
    "swivel": swivel,
}


def _blurred(grey: Tensor, sigma: float) -> Tensor:
    """Blur integers up to 255, (N, S, S), to integers, in float32.

    All sums are exact, even where float32 matrices are multiplied in bfloat16 or TF32: no factor
    has more than 8 bits, since the sums of rows are split into two parts.
    """
    weights = _blur_matrix(grey.shape[1], sigma, grey.device)
    with torch.autocast(grey.device.type, enabled=False):
        across = grey.float() @ weights.mT
        high = (across / 256).floor_()
        high, low = weights @ torch.stack([high, across - high * 256])
    return torch.floor((high * 256 + low) / 65536 + 0.5)


# Tables, computed once for a size and a device


@functools.lru_cache(maxsize=32)
def _brightness_table(factor: float, device: torch.device) -> Tensor:
    """Look-up table of brightness, uint8 (256,)."""
    table = operations.brightness(RAMP, factor)[..., 0].flatten()
    return torch.from_numpy(table).to(device)


@functools.lru_cache(maxsize=32)
def _blur_matrix(side: int, sigma: float, device: torch.device) -> Tensor:
    """Weight of each pixel of a line in each blurred one, in 1/256, float32 (S, S)."""
    kernel = operations.gaussian_kernel(max(0.5, sigma * side / 100))
    spread = cv2.sepFilter2D(
        np.eye(side, dtype=np.float32), cv2.CV_32F, np.ones(1, np.float32), kernel
    )
    return torch.from_numpy(spread).to(device)


@functools.lru_cache(maxsize=32)
def _swivel_table(side: int, degrees: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Find where each pixel comes from, as ``cv2.warpPerspective`` computes it.

    Returns:
        Indices in padded images of the upper left, lower left, upper right and lower right
        neighbours, int32 (4 S S,); weights of the right and of the lower ones, float32 (S S, 1).
    """
    matrix = cv2.invert(operations.swivel_matrix(side, degrees))[1].astype(np.float32)
    position = np.arange(side, dtype=np.float32)
    of_row = matrix[:, 1, None] * position + matrix[:, 2, None]
    # A fused multiply-add rounds once; float64 holds the product of two float32.
    of_column = matrix[:, 0, None, None].astype(np.float64) * position
    x, y, depth = (of_column + of_row[..., None]).astype(np.float32)
    x, y = x / depth, y / depth
    left, upper = np.floor(x), np.floor(y)

    def padded(line: NDArray[np.float32]) -> NDArray[np.int32]:
        return (np.clip(line, -1, side) + 1).astype(np.int32)

    columns, rows = (padded(left), padded(left + 1)), (padded(upper), padded(upper + 1))
    indices = np.stack([row * (side + 2) + column for column in columns for row in rows])
    tables = indices.ravel(), (x - left).reshape(-1, 1), (y - upper).reshape(-1, 1)
    index, across, down = (torch.from_numpy(table).to(device) for table in tables)
    return index, across, down
