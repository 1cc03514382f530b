"""The images of a JSON request: base64 text, alone or in a list, or URLs to download."""

import base64
import binascii
from typing import Any

from augrank.errors import BadRequest, RequestError

IMAGES, URLS, MAX_IMAGES, MAX_URL = "images", "urls", 100, 2048
_SHOWN_PARTS = 5  # names, in a message


def _check_list(value: Any, name: str, what: str) -> None:
    """Check that a member is a list of as many images as a request may have.

    Raises:
        BadRequest: it is not.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MAX_IMAGES:
        raise BadRequest(
            f"{name} does not fit",
            expected=f"a list of 1 to {MAX_IMAGES} {what}",
            got=kind_of(value),
            remedy="Send several requests.",
        )


def listed_urls(value: Any, *, allowed: bool) -> tuple[str, ...]:
    """Return a list of URLs.

    Raises:
        BadRequest: URLs are not allowed, or it is no such list.
    """
    if not allowed:
        raise BadRequest(
            "this server fetches nothing",
            expected="the files' bytes as images",
            got=URLS,
            remedy="Its owner can allow it: AUGRANK_ALLOW_URLS=1.",
        )
    _check_list(value, URLS, "URLs")
    for number, url in enumerate(value):
        if not isinstance(url, str) or len(url) > MAX_URL:
            raise BadRequest(
                f"{URLS}[{number}] does not fit",
                expected=f"text of at most {MAX_URL:,} characters",
                got=kind_of(url),
            )
    return tuple(value)


def several_images(value: Any) -> tuple[bytes | RequestError, ...]:
    """Decode a list of images; one that cannot be decoded becomes its error."""
    _check_list(value, IMAGES, "images, as base64 text")
    images: list[bytes | RequestError] = []
    for number, encoded in enumerate(value):
        try:
            images.append(from_base64(encoded))
        except RequestError as error:
            images.append(error.at(f"{IMAGES}[{number}]"))
    return tuple(images)


def from_base64(encoded: Any) -> bytes:
    """Decode base64, plain or URL-safe, with or without padding, alone or in a data URI."""
    if isinstance(encoded, dict) and encoded.keys() == {"b64"}:  # TensorFlow Serving's form
        encoded = encoded["b64"]
    if not isinstance(encoded, str):
        raise BadRequest(
            "image is not base64 text",
            expected='the file\'s bytes as base64 text, or {"b64": text}',
            got=kind_of(encoded),
        )
    if encoded[:5].lower() == "data:":
        encoded = encoded.partition(",")[2]
    elif "://" in encoded[:12]:
        raise BadRequest(
            "image is a URL",
            expected="the file's bytes as base64 text",
            got=repr(encoded[:40]),
            remedy='Send the file. A classifier with --allow-urls takes {"urls": [...]}.',
        )
    text = "".join(encoded.split()).translate(_STANDARD)  # MIME wraps lines
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(
            "image is not valid base64", got=str(error), remedy="Encode the file's bytes as base64."
        ) from error


_STANDARD = str.maketrans("-_", "+/")  # from the URL-safe alphabet


def kind_of(value: Any) -> str:
    """Name a JSON value's kind, for messages."""
    if isinstance(value, dict):
        return "an object with " + (", ".join(map(repr, list(value)[:_SHOWN_PARTS])) or "nothing")
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)[:40]
