"""Fit pictures of any aspect on a white square, and take them off again."""

import cv2
import numpy as np
from numpy.typing import NDArray

WHITE = 255
# Up to this ratio, an image is shrunk by bilinear interpolation, which is much quicker than the
# mean over areas: every pixel is still read, if unevenly.
BILINEAR = 1.4
Square = NDArray[np.uint8]  # (S, S, 3), RGB


def letterbox(image: NDArray[np.uint8], size: int) -> Square:
    """Fit an image on a white square, keeping its aspect.

    Args:
        image: uint8 (H, W, 3), RGB.
        size: side of the square, in pixels.

    Returns:
        uint8 (size, size, 3), RGB, contiguous.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return np.ascontiguousarray(image)
    return on_square(image, inner_sides(width, height, size), size)


def smaller(square: Square, width: int, height: int, size: int) -> Square:
    """Return the square of a picture nearly as it would have been with another side.

    The border is cut off first: its share of the square depends on the side, by rounding.

    Args:
        square: uint8 (S, S, 3), RGB.
        width: of the picture, in any unit.
        height: in the same unit.
        size: the other side, at most S.

    Returns:
        uint8 (size, size, 3), RGB, contiguous.
    """
    side = len(square)
    across, down = inner_sides(width, height, side)
    top, left = (side - down) // 2, (side - across) // 2
    picture = square[top : top + down, left : left + across]
    return on_square(picture, inner_sides(width, height, size), size)


def inner_sides(width: int, height: int, size: int) -> tuple[int, int]:
    """Return width and height, in pixels, of a picture on a square."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def on_square(image: NDArray[np.uint8], inner: tuple[int, int], size: int) -> Square:
    """Resize an image to ``inner``, width and height, in the middle of a white square."""
    is_much_smaller = max(image.shape[:2]) > BILINEAR * max(inner)
    method = cv2.INTER_AREA if is_much_smaller else cv2.INTER_LINEAR
    resized: Square = np.asarray(cv2.resize(image, inner, interpolation=method), np.uint8)
    if inner == (size, size):
        return resized
    square = np.full((size, size, 3), WHITE, np.uint8)
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    square[top : top + inner[1], left : left + inner[0]] = resized
    return square
