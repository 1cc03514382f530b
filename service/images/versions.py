"""Versions of a picture at any size: the augmentation that a model scored, applied to the file.

An augmentation changes the square, white-bordered image that a model sees. Here the square is as
large as it takes, and its border is cut off again, as far as the steps tell where the picture went.
"""

import io
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray
from PIL import Image

from augrank.images.augmentations import Augmentation, Step
from augrank.images.augmentations.operations import swivel_matrix
from augrank.images.decode import DecodedImage, DecodeLimits, RgbImage, decode
from augrank.images.letterbox import inner_sides

PREVIEW_PX, PREVIEW_QUALITY = 320, 85  # the longer side
MAX_SIDE = 6000  # pixels of a full-size version: a square of them takes 108 MB
FULL_QUALITY = 95
PREVIEWS_BYTES = 64 * 1024**2
# Operations that leave everything in its place. What is not known may move it anywhere.
IN_PLACE = frozenset(
    ("brightness", "sketch", "GaussNoise", "MotionBlur", "MedianBlur", "Blur", "CLAHE", "Sharpen",
     "Emboss", "RandomBrightnessContrast", "HueSaturationValue")
)  # fmt: skip


@dataclass(frozen=True)
class Box:
    """Where the picture is in a square, in pixels; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def letterboxed(cls, width: int, height: int, side: int) -> "Box":
        """Return where ``augrank.images.letterbox`` puts a picture."""
        inner = inner_sides(width, height, side)
        left, top = (side - inner[0]) // 2, (side - inner[1]) // 2
        return cls(left, top, left + inner[0], top + inner[1])

    def after(self, step: Step, side: int) -> "Box":
        """Return where a step moves what is in the box."""
        left, top, right, bottom = self.left, self.top, self.right, self.bottom
        if step.op in IN_PLACE:
            return self
        if step.op == "rotate":
            box = self
            for _ in range(step.params["quarter_turns"] % 4):  # counter-clockwise
                box = Box(box.top, side - box.right, box.bottom, side - box.left)
            return box
        if step.op == "swivel":
            return self._projected(swivel_matrix(side, step.params["degrees"]), side)
        moved = {
            "HorizontalFlip": (side - right, top, side - left, bottom),
            "VerticalFlip": (left, side - bottom, right, side - top),
            "Transpose": (top, left, bottom, right),
        }
        return Box(*moved.get(step.op, (0, 0, side, side)))

    def _projected(self, matrix: NDArray[np.float64], side: int) -> "Box":
        """Return the smallest box around the projected corners, within the square."""
        across, down = (self.left, self.right - 1), (self.top, self.bottom - 1)
        corners = np.array([(x, y, 1.0) for x in across for y in down])
        x, y, scale = matrix @ corners.T
        x, y = (np.clip(axis / scale, 0, side - 1) for axis in (x, y))
        return Box(
            math.floor(x.min()), math.floor(y.min()), math.ceil(x.max()) + 1, math.ceil(y.max()) + 1
        )


def version_of(decoded: DecodedImage, augmentation: Augmentation) -> RgbImage:
    """Apply an augmentation to a picture.

    Args:
        decoded: the picture in its square, as large as the version is wanted.
        augmentation: with its exact parameters.

    Returns:
        uint8 (H, W, 3), RGB: without the square's border.
    """
    side = len(decoded.pixels)
    box = Box.letterboxed(decoded.width, decoded.height, side)
    for step in augmentation.steps:
        box = box.after(step, side)
    return augmentation.apply(decoded.pixels)[box.top : box.bottom, box.left : box.right]


@dataclass(frozen=True)
class ImageFile:
    """An image file to download."""

    data: bytes
    media_type: str
    suffix: str


_rendering = threading.Semaphore()  # one at a time: it takes much memory


def full_size(
    data: bytes, augmentation: Augmentation, sides: tuple[int, int], limits: DecodeLimits
) -> ImageFile:
    """Apply an augmentation to an image file in its full size, at most MAX_SIDE pixels.

    A JPEG becomes one of high quality, everything else a PNG; a colour profile is kept.

    Args:
        data: the file.
        augmentation: with its exact parameters.
        sides: width and height of the image, in pixels.
        limits: larger images are rejected.
    """
    with _rendering:
        pixels = version_of(decode(data, min(max(sides), MAX_SIDE), limits), augmentation)
        source = Image.open(io.BytesIO(data))
        profile = source.info.get("icc_profile") or b""
        lossy = source.format in ("JPEG", "MPO")
        made, buffer = Image.fromarray(pixels), io.BytesIO()
        kept = {"icc_profile": profile} if profile[16:20] == b"RGB " else {}
        if lossy:
            made.save(buffer, "JPEG", quality=FULL_QUALITY, subsampling=0, **kept)
            return ImageFile(buffer.getvalue(), "image/jpeg", ".jpg")
        made.save(buffer, "PNG", **kept)
        return ImageFile(buffer.getvalue(), "image/png", ".png")


class Previews:
    """Small JPEGs of versions, those that were looked at last. Thread-safe.

    Args:
        limits: larger images are rejected.
        size_bytes: memory limit of all of them.
    """

    def __init__(self, limits: DecodeLimits, size_bytes: int = PREVIEWS_BYTES) -> None:
        self._limits = limits
        self._kept: LRUCache[tuple[str, str], bytes] = LRUCache(size_bytes, getsizeof=len)
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def get(
        self,
        sha256: str,
        wanted: Augmentation,
        offered: Iterable[Augmentation],
        read: Callable[[], bytes | None],
    ) -> bytes | None:
        """Return a preview; None if the file is not kept any more.

        Args:
            sha256: of the image.
            wanted: the augmentation.
            offered: the augmentations that will be looked at, too: the file is decoded once.
            read: returns the file.

        Raises:
            RequestError: the image cannot be read.
        """
        key = (sha256, wanted.hash)
        if (kept := self._get(key)) is not None:
            return kept
        with self._turn:
            if (kept := self._get(key)) is not None:
                return kept
            data = read()
            if data is None:
                return None
            decoded = decode(data, PREVIEW_PX, self._limits)
            distinct = {each.hash: each for each in (wanted, *offered)}
            made = {
                (sha256, digest): _jpeg(version_of(decoded, each))
                for digest, each in distinct.items()
            }
            with self._lock:
                for each, preview in made.items():
                    if len(preview) <= self._kept.maxsize:
                        self._kept[each] = preview
        return made[key]

    def _get(self, key: tuple[str, str]) -> bytes | None:
        with self._lock:
            found: bytes | None = self._kept.get(key)
            return found


def _jpeg(pixels: RgbImage) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return buffer.getvalue()
