"""Image files that are hard on a server: large ones, and one that claims to be huge."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png_bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims this size, as decompression bombs do."""

    def chunk(content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
        )

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(pixels)


def noise_jpeg(side: int = 200, quality: int = 75) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
