"""Recognise a file's format by its first bytes, those of formats that are not images too."""

import re

_BY_START = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\1\0", "ICO (icon)"),
    (b"8BPS", "PSD (Photoshop)"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"{\\rtf", "RTF"),
    (b"\x1aE\xdf\xa3", "WebM or Matroska video"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"version https://git-lfs", "Git LFS pointer"),
    (b"data:", "data URI, as text"),
    (b"/9j/", "JPEG in base64 text"),
    (b"iVBORw0KGgo", "PNG in base64 text"),
    (b"UklGR", "WebP in base64 text"),
)
_BITMAP = re.compile(rb"BM.{4}\0{4}", re.S)  # size of the file, and a reserved field
_PORTABLE = re.compile(rb"P[1-6]\s+[#\d]")  # PBM, PGM, PPM: a comment or the width follows
_MARKUP = (
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!DOCTYPE svg[^>]*>\s*)?<svg", re.S),
     "SVG"),
    (re.compile(rb"\s*<\?xml"), "XML"),
    (re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)", re.I | re.S), "HTML"),
    (re.compile(rb"\s*<(!--|[a-z][\w:.-]{0,30}[\s/>])", re.I), "HTML or XML"),
    (re.compile(rb'\s*(\{\s*["}]|\[\s*[\[{"\d\]-])'), "JSON"),
)  # fmt: skip
_HEIC = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_MAX_LEADING = 16  # bytes before a format's first, such as the line break of a script


def format_of(data: bytes) -> str | None:
    """Return the name of a file's format, such as ``JPEG`` or ``PDF``; None if it is not known."""
    head = data[:512]
    for start, name in _BY_START:
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and len(head) >= 12:
        return "WEBP" if head[8:12] == b"WEBP" else "RIFF media file"
    if head[4:8] == b"ftyp":
        return _base_media(head)
    if _BITMAP.match(head):
        return "BMP"
    if _PORTABLE.match(head):
        return "PPM"
    text = head.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
    return next((name for pattern, name in _MARKUP if pattern.match(text)), None)


def described(data: bytes) -> str:
    """Return what bytes are, for a message: a format, or their number and beginning."""
    name = format_of(data)
    if name:
        return name
    if not data:
        return "nothing"
    for skipped in range(1, min(_MAX_LEADING, len(data))):
        if data[:skipped].isspace() and (inner := format_of(data[skipped:])):
            return f"{inner} after {skipped} bytes of white space"
    return f"{len(data):,} bytes starting with {data[:8].hex(' ')}"


def _base_media(head: bytes) -> str:
    """Return the format of an ISO base media file, from its brands."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, size - 3, 4))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    if _HEIC.intersection(brands):
        return "HEIC"
    return "MP4 or MOV video"
