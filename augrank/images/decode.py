"""Decode image bytes to RGB, safely: the one decoder of training and serving.

The header is read first, and an image that is too large is rejected, so a decompression bomb costs
nothing. JPEGs are decoded at the smallest scale that still oversamples the working size twice
(libjpeg's scaled inverse DCT), which keeps a 12-megapixel photo cheap when 224 pixels are needed.
"""

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from augrank.errors import BadRequest, BrokenImage, ImageTooLarge, UnsupportedImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_OPENED = (*FORMATS, "MPO")  # MPO: a JPEG followed by a second image, as phones write
_ORIENTATION, _FIRST_TURNED = 0x0112, 5  # EXIF: from 5 on, width and height are swapped
_PNG_END = b"IEND\xaeB\x60\x82"
# Increment it when a file decodes to different pixels: caches of decoded images depend on it.
DECODE_VERSION = 1
WHITE = 255
# All exceptions that Pillow's codecs raise on damaged files. MemoryError is left to the caller.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    zlib.error,
    struct.error,
    OverflowError,
)

RgbImage = NDArray[np.uint8]


@dataclass(frozen=True)
class DecodeLimits:
    """The largest image that is accepted."""

    size_bytes: int = 25 * 1024 * 1024
    pixels: int = 64_000_000
    side: int = 16_384


@dataclass(frozen=True)
class DecodedImage:
    """An image at working size, with the properties of its file that the answer repeats."""

    pixels: RgbImage  # (size, size, 3) RGB
    width: int  # of the file, after EXIF orientation
    height: int
    format: str


def decode(data: bytes, size: int, limits: DecodeLimits = DecodeLimits()) -> DecodedImage:
    """Decode an image file and letterbox it on a white square of ``size`` pixels.

    Accepts JPEG (RGB, grey, CMYK), PNG (any depth, palette, alpha), WebP and GIF; of an animation,
    the first frame. EXIF orientation is applied, alpha is composited on white.

    Args:
        data: the file's bytes.
        size: side of the square working image, in pixels.
        limits: larger images are rejected.

    Returns:
        The image: pixels uint8 (size, size, 3), RGB.

    Raises:
        ImageTooLarge, UnsupportedImage, BrokenImage: with expected, got and remedy.
    """
    if len(data) > limits.size_bytes:
        raise ImageTooLarge(
            "the image file is too large",
            expected=f"at most {limits.size_bytes:,} bytes",
            got=f"{len(data):,} bytes",
            remedy="Send a smaller or more compressed image.",
        )
    image = _open(data)
    _check_size(image, limits)
    file_format = "JPEG" if image.format == "MPO" else str(image.format)
    width, height = image.size
    try:
        if file_format == "PNG" and _PNG_END not in data:
            raise EOFError("no end of image")
        if file_format == "JPEG":
            image.draft("RGB", _oversampled(width, height, size))
        if image.getexif().get(_ORIENTATION, 1) >= _FIRST_TURNED:
            width, height = height, width
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    except _DAMAGED as error:
        raise BrokenImage(
            "the image file is damaged or truncated",
            expected=f"a complete {file_format} file",
            got=f"{len(data):,} bytes, truncated or corrupt",
            remedy="Export the image again, or check that the upload was complete.",
        ) from error
    return DecodedImage(letterbox(rgb, size), width, height, file_format)


def letterbox(image: RgbImage, size: int) -> RgbImage:
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
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, inner, interpolation=method)
    square = np.full((size, size, 3), WHITE, np.uint8)
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    square[top : top + inner[1], left : left + inner[0]] = resized
    return square


def encode(image: RgbImage, file_format: str = "JPEG", quality: int = 85) -> bytes:
    """Encode uint8 (H, W, 3) RGB as a file of one of FORMATS."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, quality=quality)
    return buffer.getvalue()


def working_image(image: bytes | RgbImage, size: int, limits: DecodeLimits) -> DecodedImage:
    """Decode a file's bytes, or letterbox an array uint8 (H, W, 3) RGB."""
    if isinstance(image, bytes | bytearray | memoryview):
        return decode(bytes(image), size, limits)
    array = _checked_array(image)
    height, width = array.shape[:2]
    return DecodedImage(letterbox(array, size), width, height, "array")


def sha256_of_image(image: bytes | RgbImage) -> str:
    """Return the sha256 of a file's bytes, or of an array's shape and pixels."""
    if isinstance(image, bytes | bytearray | memoryview):
        return hashlib.sha256(image).hexdigest()
    array = _checked_array(image)
    digest = hashlib.sha256(str(array.shape).encode())
    digest.update(array.tobytes())
    return digest.hexdigest()


def _checked_array(image: RgbImage) -> RgbImage:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise BadRequest(
            "the array is not an image",
            expected="uint8 (H, W, 3), RGB",
            got=f"{array.dtype} {array.shape}",
        )
    return array


def _open(data: bytes) -> Image.Image:
    """Read the header only; reject bytes that are not an image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=_OPENED)
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(
            "the image has too many pixels",
            expected=f"at most {DecodeLimits.pixels:,} pixels",
            got=str(error).split(",")[0].replace("Image size ", ""),
            remedy="Send a smaller image.",
        ) from None
    except (UnidentifiedImageError, *_DAMAGED) as error:
        start = data[:8].hex(" ") or "nothing"
        raise UnsupportedImage(
            "the bytes are not an image that can be read",
            expected="a " + ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]} file",
            got=f"{len(data):,} bytes starting with {start}",
            remedy="Save the image as JPEG, PNG or WebP.",
        ) from error


def _check_size(image: Image.Image, limits: DecodeLimits) -> None:
    width, height = image.size
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ImageTooLarge(
            "the image has too many pixels",
            expected=f"at most {limits.pixels:,} pixels and {limits.side:,} per side",
            got=f"{width} x {height}",
            remedy="Send a smaller image: it is scaled to a few hundred pixels anyway.",
        )


def _oversampled(width: int, height: int, size: int) -> tuple[int, int]:
    """Return twice the letterboxed size, the least that a scaled JPEG decode may give."""
    scale = 2 * size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_rgb(image: Image.Image) -> RgbImage:
    """Convert the first frame, of any Pillow mode, to uint8 (H, W, 3) RGB on white."""
    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey
        grey = np.asarray(image).astype(np.float32) * (255.0 / 65535.0)
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (WHITE, WHITE, WHITE, WHITE))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))
