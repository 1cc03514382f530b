"""Make image files readable whose pixels are all there, and something around them is not.

A file that is cut in its pixels stays as it is: it must not be shown half grey.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Decoded = tuple[NDArray[np.uint8], int, int]  # pixels (H, W, 3), and the sides of the file
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")  # chunks that pixels depend on
_JPEG_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xda-\xfe]")  # of a segment with a size
MAX_SEGMENTS = 2000  # of a JPEG; progressive ones have a dozen
MAX_GAP = 4096  # bytes that belong to no segment, before the scan
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What may follow cut data: pixels of other colours, also in the next restart interval.
_JPEG_RESTARTS = [bytes((0xFF, 0xD0 + number)) for number in range(8)]
_JPEG_OTHERS = tuple(
    b"".join(marker + pattern * 16 for marker in (b"", *_JPEG_RESTARTS, *_JPEG_RESTARTS))
    for pattern in (b"\x5a\x3c\x96\x69", b"\xe1\x0f\xd2\x87")
)


def bare_png(data: bytes) -> bytes:
    """Return a PNG with the chunks that decide its pixels, its orientation, and an end.

    Text, profiles and times may be too long or damaged, and the end may be missing. If the file
    ends in its pixels, these stay incomplete.
    """
    parts = [_PNG_START]
    for name, content, sound in _chunks(data):
        if name in _PNG_PIXELS or (name == b"eXIf" and sound):
            parts.append(struct.pack(">I4s", len(content), name) + content)
            # A damaged chunk of pixels must stay so.
            crc = zlib.crc32(name + content)
            parts.append(struct.pack(">I", crc if sound else crc ^ 1))
    end = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    return b"".join([*parts, end])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name and content of each chunk, and whether its checksum is right.

    The last one may be cut; without a checksum, it counts as sound.
    """
    place = len(_PNG_START)
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + size]
        checksum = data[place + 8 + size : place + 12 + size]
        yield (
            name,
            content,
            len(checksum) < 4 or zlib.crc32(name + content) == int.from_bytes(checksum, "big"),
        )
        if name == b"IEND":
            return
        place += 12 + size


def jpeg_without_end(data: bytes, decoded: Callable[[bytes], Decoded]) -> Decoded:
    """Decode a JPEG whose end marker is missing, if all of its pixels are there.

    libjpeg fills missing pixels with grey, silently. So the file is decoded with different bytes
    behind it: what is always the same does not depend on them.

    Args:
        data: the file.
        decoded: decodes a file to pixels and sides.

    Raises:
        EOFError: it is cut.
    """
    data = data.rstrip(b"\xff")  # half of the marker, or bytes that fill the space before it
    if b"\xff" * MAX_GAP in data or not _has_every_scan(data):
        raise EOFError("scans are missing")
    ended = decoded(data + _JPEG_END)
    for other in _JPEG_OTHERS:
        if not np.array_equal(ended[0], decoded(data + other + _JPEG_END)[0]):
            raise EOFError("the image is cut")
    return ended


def has_jpeg_scan(data: bytes) -> bool:
    """Return whether a JPEG has a scan after a plausible number of segments, close together.

    Pillow reads headers byte by byte, and would take seconds for millions of segments.
    """
    end = 2
    for start, marker, segment in _segments(data):
        if start - end > MAX_GAP:
            return False
        if marker == 0xDA:
            return True
        end = start + 4 + len(segment)
    return False


def _has_every_scan(data: bytes) -> bool:
    """Return whether a JPEG's scans have begun to give every coefficient all of its bits."""
    missing: dict[int, list[int]] = {}  # low bits of each of 64 coefficients, by component
    for _, marker, segment in _segments(data):
        if marker in _START_OF_FRAME and len(segment) > 5:
            missing = {segment[6 + 3 * n]: [1] * 64 for n in range(min(segment[5], 4))}
        elif marker == 0xDA and segment:
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            for component in segment[1 : 1 + 2 * count : 2]:
                if component in missing:
                    missing[component][first : last + 1] = [bits & 15] * (last + 1 - first)
    return bool(missing) and not any(map(any, missing.values()))


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield place, marker and contents of a JPEG's segments, the first MAX_SEGMENTS."""
    place = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, place)  # skips the data of a scan
        if found is None:
            return
        place = found.start()
        size = max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
        yield place, data[place + 1], data[place + 4 : place + 2 + size]
        place += 2 + size
