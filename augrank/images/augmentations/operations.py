"""The operations of the seed set: (image, parameters) to image, the same bytes everywhere."""

import functools
import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.images.decode import RgbImage
from augrank.images.letterbox import WHITE

# Part of every augmentation's hash: increment it when an operation's output changes.
OPERATIONS_VERSION = 1


def brightness(image: RgbImage, factor: float) -> RgbImage:
    """Multiply every channel by ``factor``, saturating at 255."""
    return cv2.LUT(image, _brightness_table(factor)).astype(np.uint8, copy=False)


def rotate(image: RgbImage, quarter_turns: int) -> RgbImage:
    """Rotate in the plane by quarter turns, counter-clockwise."""
    turn = QUARTER_TURNS[quarter_turns % 4]
    return image if turn is None else cv2.rotate(image, turn).astype(np.uint8, copy=False)


def sketch(image: RgbImage, sigma: float) -> RgbImage:
    """Pencil drawing: grey divided by its blurred negative (the "colour dodge" of darkrooms).

    ``sigma`` is the blur in 1/100 of the image's side, so that strokes keep their relative width.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    negative = cv2.bitwise_not(grey).astype(np.uint8, copy=False)
    blurred = _gaussian_blur(negative, max(0.5, sigma * image.shape[0] / 100))
    dodged = cv2.divide(grey, 255 - blurred, scale=255.0)
    # Where the negative is white the quotient is undefined; cv2.divide gives 0, paper is white.
    dodged[blurred == 255] = WHITE
    return cv2.cvtColor(dodged, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def swivel(image: RgbImage, degrees: float) -> RgbImage:
    """Rotate about the vertical axis, in perspective from 1.5 sides away, on white."""
    side = image.shape[0]
    matrix = swivel_matrix(side, degrees)
    turned = cv2.warpPerspective(
        image,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(WHITE, WHITE, WHITE),
    )
    return turned.astype(np.uint8, copy=False)


QUARTER_TURNS = (
    None,
    cv2.ROTATE_90_COUNTERCLOCKWISE,
    cv2.ROTATE_180,
    cv2.ROTATE_90_CLOCKWISE,
)
OPERATIONS: dict[str, Callable[..., RgbImage]] = {
    "brightness": brightness,
    "rotate": rotate,
    "sketch": sketch,
    "swivel": swivel,
}


@functools.lru_cache(maxsize=32)
def _brightness_table(factor: float) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.clip(np.arange(256) * factor + 0.5, 0, 255).astype(np.uint8)
    return table


def _gaussian_blur(grey: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """``cv2.GaussianBlur(grey, (0, 0), sigma)``, byte for byte, in an eighth of its time.

    Its kernel for uint8 has whole numbers that sum to 256, so all its sums are below 2 ** 24 and
    exact in float32, which vectorises better than OpenCV's own fixed point.
    """
    kernel = gaussian_kernel(sigma)
    # Both kernels together scale by 2 ** -16; adding a half and truncating rounds.
    blurred = cv2.sepFilter2D(grey, cv2.CV_32F, kernel, kernel / 65536, delta=0.5)
    return blurred.astype(np.uint8)


@functools.lru_cache(maxsize=32)
def gaussian_kernel(sigma: float) -> NDArray[np.float32]:
    """Return the blur's weights in 1/256, odd in number, without zeros at the ends; float32.

    They are rounded from the ends to the middle, each with the rounding error of the one before.
    """
    width = round(6 * sigma + 1) | 1  # as OpenCV chooses it for uint8
    exact = 256 * cv2.getGaussianKernel(width, sigma, cv2.CV_64F)[: width // 2, 0]
    half, left = np.zeros(len(exact), np.float32), 0.0
    for index, weight in enumerate(exact):
        half[index] = np.rint(weight + left)
        left += weight - half[index]
    half = half[np.argmax(half > 0) :] if half.any() else half[:0]
    return np.concatenate([half, [256 - 2 * half.sum()], half[::-1]]).astype(np.float32)


@functools.lru_cache(maxsize=32)
def swivel_matrix(side: int, degrees: float) -> NDArray[np.float64]:
    """Return the homography (3, 3) of a plane turned about its vertical axis (pinhole model).

    The point (x, y, 0), measured from the middle, turns to (x cos, y, x sin) and is seen from
    ``distance`` away: x' = distance x cos / (distance + x sin), y' = distance y / (...).
    """
    turn, distance, middle = math.radians(degrees), 1.5 * side, (side - 1) / 2
    project = np.array(
        [[distance * math.cos(turn), 0, 0], [0, distance, 0], [math.sin(turn), 0, distance]]
    )
    to_middle = np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1.0]])
    matrix: NDArray[np.float64] = np.linalg.inv(to_middle) @ project @ to_middle
    return matrix
