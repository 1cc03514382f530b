"""Decode image bytes to RGB, safely: the one decoder of training and serving.

The header is read first, and an image that is too large is rejected, so a decompression bomb costs
nothing. JPEGs are decoded at the smallest scale (libjpeg's scaled inverse DCT) that has the pixels
of the working size, and DECODED_PX on the longer side for what the image looks like: a photo of 12
megapixels is cheap when 224 pixels are needed, and one of 512 pixels is decoded to 256.
"""

import contextlib
import ctypes
import hashlib
import io
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL._imaging
from numpy.typing import NDArray
from PIL import Image

from augrank.errors import BadRequest, BrokenImage, ImageTooLarge, UnsupportedImage
from augrank.images.formats import described, format_of
from augrank.images.letterbox import WHITE, inner_sides, letterbox, on_square
from augrank.images.look import LOOK_PX
from augrank.images.repair import bare_png, has_jpeg_scan, jpeg_without_end

# Accepted formats, and Pillow's names of their decoders. MPO is a JPEG followed by a second image,
# as phones write.
_DECODERS = {
    "JPEG": ("JPEG", "MPO"),
    "PNG": ("PNG",),
    "WEBP": ("WEBP",),
    "GIF": ("GIF",),
    "AVIF": ("AVIF",),
    "BMP": ("BMP",),
    "TIFF": ("TIFF",),
    "HEIC": ("HEIF",),  # with the extra
}
FORMATS = tuple(name for name in _DECODERS if name != "HEIC")
_REMEDIES = {
    "HEIC": "Install the extra: pip install 'augrank[heic]', or save the image as JPEG.",
    "Git LFS pointer": "Run git lfs pull: the file is a pointer to the image.",
}
_ORIENTATION = 0x0112  # EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_TURNED = 5  # from this orientation on, width and height are swapped
_PNG_END = b"IEND\xaeB\x60\x82"
# Increment it when a file decodes to different pixels: caches of decoded images depend on it.
DECODE_VERSION = 6
DECODED_PX = 4 * LOOK_PX  # of the longer side, the least that a JPEG is scaled to
# Behind a file, it makes the same image a new one: a catalogue knows its images by their bytes, and
# answers with their outcomes. Decoders ignore it.
FOREIGN = b"\0"
# All exceptions that Pillow's codecs raise on damaged files. MemoryError is left to the caller.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    zlib.error,
    struct.error,
    OverflowError,
)
# Pillow warns of unusual metadata, without the name of the file.
warnings.filterwarnings("ignore", module=r"PIL\.")
# libtiff reports damage to stderr by itself, beside the exception. Its own functions turn that off,
# where Pillow is linked to it dynamically, as its wheels are.
with contextlib.suppress(AttributeError, OSError):
    _libtiff = ctypes.CDLL(PIL._imaging.__file__)
    _libtiff.TIFFSetErrorHandler(None)
    _libtiff.TIFFSetWarningHandler(None)

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
    sha256: str = ""  # of the file; only needed where it takes the file's place in a request


def read_image(file: Path, limits: DecodeLimits = DecodeLimits()) -> bytes:
    """Read an image file; one that is too large is not read.

    Raises:
        ImageTooLarge: it has more bytes than the limit.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        _check_bytes(os.fstat(stream.fileno()).st_size, limits)
        data = stream.read(limits.size_bytes + 1)  # it may grow, or be a pipe
    _check_bytes(len(data), limits)
    return data


def _check_bytes(size: int, limits: DecodeLimits) -> None:
    if size > limits.size_bytes:
        raise ImageTooLarge(
            "the image file is too large",
            expected=f"at most {limits.size_bytes:,} bytes",
            got=f"{size:,} bytes",
            remedy="Send a smaller or more compressed image.",
        )


def decode(data: bytes, size: int, limits: DecodeLimits = DecodeLimits()) -> DecodedImage:
    """Decode an image file and letterbox it on a white square of ``size`` pixels.

    Accepts JPEG (RGB, grey, CMYK), PNG (any depth, palette, alpha), WebP, GIF, AVIF, BMP, TIFF and,
    with the extra, HEIC; of an animation, the first frame, of several pages, the first. EXIF
    orientation is applied, alpha is composited on white. Metadata that cannot be read is ignored,
    as is a missing end marker where all pixels are there.

    Args:
        data: the file's bytes.
        size: side of the square working image, in pixels.
        limits: larger images are rejected.

    Returns:
        The image: pixels uint8 (size, size, 3), RGB.

    Raises:
        ImageTooLarge, UnsupportedImage, BrokenImage: with expected, got and remedy.
    """
    _check_bytes(len(data), limits)
    file_format = _accepted_format(data)
    try:
        rgb, width, height = _decoded(data, file_format, size, limits)
    except _DAMAGED as error:
        raise BrokenImage(
            f"the {file_format} file is damaged or truncated, or of a rare kind",
            expected=f"a complete {file_format} file",
            got=f"{len(data):,} bytes",
            remedy="Export the image again, or check that the upload was complete.",
        ) from error
    # A JPEG may have been decoded to a fraction of its size, whose sides are rounded.
    inner = inner_sides(width, height, size)
    return DecodedImage(on_square(rgb, inner, size), width, height, file_format)


def _accepted_format(data: bytes) -> str:
    """Return the format of a file.

    Raises:
        UnsupportedImage: it is not an image, or of a format that is not accepted.
    """
    name = format_of(data)
    if name in FORMATS or (name == "HEIC" and _heic_is_installed()):
        return str(name)
    raise UnsupportedImage(
        "the bytes are not an image that can be read",
        expected="a " + ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]} file",
        got=described(data),
        remedy=_REMEDIES.get(name or "", "Save the image as JPEG, PNG or WebP."),
    )


def _heic_is_installed() -> bool:
    """Register the decoder of the extra ``heic``, if it is installed."""
    try:
        from pi_heif import register_heif_opener  # type: ignore[import-untyped]
    except ImportError:
        return False
    register_heif_opener()
    return True


def _decoded(
    data: bytes, file_format: str, size: int, limits: DecodeLimits
) -> tuple[RgbImage, int, int]:
    """Return pixels (H, W, 3), upright and at least of the working size, and the file's sides.

    Raises:
        one of _DAMAGED: pixels are missing or cannot be read.
    """
    if file_format == "JPEG" and not has_jpeg_scan(data):
        raise EOFError("no scan")
    decoded = partial(_pixels, file_format=file_format, size=size, limits=limits)
    if file_format == "PNG":
        if _PNG_END not in data:
            return decoded(bare_png(data))
        try:
            return decoded(data)
        except _DAMAGED:
            return decoded(bare_png(data))
    try:
        return decoded(data)
    except _DAMAGED:
        if file_format != "JPEG":
            raise
        return jpeg_without_end(data, decoded)


def _pixels(
    data: bytes, file_format: str, size: int, limits: DecodeLimits
) -> tuple[RgbImage, int, int]:
    """Return pixels (H, W, 3), upright and at least of the working size, and the file's sides."""
    image = _open(data, file_format)
    _check_size(image, limits)
    width, height = image.size
    if file_format == "JPEG":
        image.draft("RGB", _least_sides(width, height, size))
    image.load()  # before its metadata: a PNG's are read by loading it, and damage would pass
    turn = _orientation(image)
    if file_format == "PNG":
        _scale_transparency(image, depth=data[24])
    rgb = _to_rgb(image.transpose(_TURNS[turn]) if turn in _TURNS else image)
    return (rgb, height, width) if turn >= _FIRST_TURNED else (rgb, width, height)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none that can be read.

    Pillow turns TIFF and HEIF images by itself.
    """
    if image.format in ("TIFF", "HEIF"):
        return 1
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGED:
        return 1
    return int(turn) if turn in _TURNS else 1


def _scale_transparency(image: Image.Image, depth: int) -> None:
    """Scale a PNG's transparent colour as Pillow has scaled its pixels: to 8 bits, or 16 of grey.

    Args:
        image: as opened.
        depth: bits of a sample in the file.
    """
    colour = image.info.get("transparency")
    if image.mode == "L" and isinstance(colour, int) and depth < 8:
        image.info["transparency"] = colour * 255 // (2**depth - 1)
    elif image.mode == "RGB" and isinstance(colour, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def encode(image: RgbImage, file_format: str = "JPEG", quality: int = 85) -> bytes:
    """Encode uint8 (H, W, 3) RGB as a file of one of FORMATS."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, quality=quality)
    return buffer.getvalue()


def working_image(
    image: bytes | RgbImage | DecodedImage, size: int, limits: DecodeLimits
) -> DecodedImage:
    """Decode a file's bytes, or letterbox an array uint8 (H, W, 3) RGB or a decoded image."""
    if isinstance(image, DecodedImage):
        return replace(image, pixels=letterbox(image.pixels, size))
    if isinstance(image, bytes | bytearray | memoryview):
        return decode(bytes(image), size, limits)
    array = _checked_array(image)
    height, width = array.shape[:2]
    return DecodedImage(letterbox(array, size), width, height, "array")


def sha256_of_image(image: bytes | RgbImage | DecodedImage) -> str:
    """Return the sha256 of a file's bytes, or of an array's shape and pixels.

    Raises:
        BadRequest: an array is not an image, or the file's sha256 is not with a decoded one.
    """
    if isinstance(image, DecodedImage):
        if not image.sha256:
            raise BadRequest("a decoded image without the sha256 of its file", expected="both")
        return image.sha256
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


def _open(data: bytes, file_format: str) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=_DECODERS[file_format])
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise ImageTooLarge(
            "the image has too many pixels",
            expected=f"at most {DecodeLimits.pixels:,} pixels",
            got=f"{int(pixels[0]):,} pixels" if pixels else "more",
            remedy="Send a smaller image.",
        ) from None


def _check_size(image: Image.Image, limits: DecodeLimits) -> None:
    width, height = image.size
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ImageTooLarge(
            "the image has too many pixels",
            expected=f"at most {limits.pixels:,} pixels and {limits.side:,} per side",
            got=f"{width} x {height}",
            remedy="Send a smaller image: it is scaled to a few hundred pixels anyway.",
        )


def _least_sides(width: int, height: int, size: int) -> tuple[int, int]:
    """Return the fewest pixels that a JPEG is decoded to: as letterboxed, and enough for a look.

    With fewer, its look would differ from that of the same picture in another format, or as decoded
    for a larger model.
    """
    least, longer = max(size, DECODED_PX), max(width, height)
    # Rounded down: half of an odd shorter side is enough, and Pillow would not scale otherwise.
    return max(1, width * least // longer), max(1, height * least // longer)


def _to_rgb(image: Image.Image) -> RgbImage:
    """Convert the first frame, of any Pillow mode, to uint8 (H, W, 3) RGB on white."""
    if image.mode in ("F", "I"):
        raise ValueError("numbers of 32 bits have no known range")
    if image.mode.startswith("I"):  # 16-bit grey
        deep = np.asarray(image)
        grey = np.clip(deep.astype(np.float32) * (255.0 / 65535.0), 0, 255).astype(np.uint8)
        if "transparency" in image.info:
            grey[deep == image.info["transparency"]] = WHITE
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (WHITE, WHITE, WHITE, WHITE))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # which copies
