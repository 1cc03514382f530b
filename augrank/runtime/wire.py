"""Read HTTP headers and bodies into a ``RequestBody``, the same for every task.

Three equivalent forms, all usable from any language:

- JSON: ``{"image": "<base64>", ...}`` with the task's options beside the image.
- ``multipart/form-data``: the image as ``image``, every other part a field.
- the raw image as ``image/jpeg|png|webp|gif``, with the fields in the header
  ``X-Augrank-Fields`` or, behind SageMaker, ``X-Amzn-SageMaker-Custom-Attributes``: a JSON object,
  or ``target=open_rate&campaign_type=Newsletter``. (TorchServe drops the query string.)

The task's ``parse`` interprets the fields.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from augrank.contracts.request_fields import IMAGE_PARTS
from augrank.errors import BadRequest, UnsupportedImage, one_of
from augrank.tasks.base import RequestBody

Fields = Mapping[str, Any]
JSON_TYPE, MULTIPART_TYPE = "application/json", "multipart/form-data"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif")
ACCEPTED_TYPES = (*IMAGE_TYPES, MULTIPART_TYPE, JSON_TYPE)
UNTYPED = ("", "application/octet-stream")  # decode.py recognises the format
FIELD_HEADERS = ("x-augrank-fields", "x-amzn-sagemaker-custom-attributes")


def read_body(
    parts: Fields, headers: Mapping[str, str], defaults: Fields | None = None
) -> RequestBody:
    """Read one request.

    Args:
        parts: the parts of the body by name, as a model server passes them: ``body`` for an
            undivided body (bytes, or a dict if the server has already parsed the JSON), or the
            parts of a multipart body.
        headers: request headers, names in lower case.
        defaults: fields that a request may override.

    Raises:
        BadRequest, UnsupportedImage: the request is not of an accepted form.
    """
    fields: dict[str, Any] = dict(defaults or {})
    for name in FIELD_HEADERS:
        fields |= _header_fields(name, headers.get(name, ""))
    content_type = headers.get("content-type", "").split(";")[0].strip().lower()
    body = parts.get("body")
    if isinstance(body, dict):
        content_type = JSON_TYPE
    elif body is None and content_type != JSON_TYPE:
        content_type = MULTIPART_TYPE  # the server has divided it
    read = READERS.get(content_type)
    if read is None:
        raise UnsupportedImage(
            "the content type is not accepted",
            expected=one_of(ACCEPTED_TYPES, content_type),
            got=content_type,
            remedy="curl: -H 'Content-Type: image/jpeg' -H 'X-Augrank-Fields: target=open_rate' "
            "--data-binary @image.jpg",
        )
    return read(parts, fields)


def _read_json(parts: Fields, fields: Fields) -> RequestBody:
    body = parts.get("body")
    if isinstance(body, bytes | bytearray | str):
        if not body:
            raise _missing_image()
        try:
            body = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest("the body is not valid JSON", got=str(error)) from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object", got=type(body).__name__)
    content = dict(body)
    encoded = content.pop("image", None)
    if not encoded:
        raise _missing_image()
    return RequestBody(_from_base64(encoded), {**fields, **_text_parts(parts)}, content)


def _read_image(parts: Fields, fields: Fields) -> RequestBody:
    return RequestBody(_image_part(parts), {**fields, **_text_parts(parts)}, {})


READERS: dict[str, Callable[[Fields, Fields], RequestBody]] = {
    JSON_TYPE: _read_json,
    **dict.fromkeys((MULTIPART_TYPE, *IMAGE_TYPES, *UNTYPED), _read_image),
}


def _from_base64(encoded: Any) -> bytes:
    if not isinstance(encoded, str):
        raise BadRequest("image is not base64 text", expected="a string", got=repr(encoded)[:40])
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)  # MIME wraps lines
    except (binascii.Error, ValueError) as error:
        raise BadRequest(
            "image is not valid base64", got=str(error), remedy="Encode the file's bytes as base64."
        ) from error


def _image_part(parts: Fields) -> bytes:
    for name in IMAGE_PARTS:
        value = parts.get(name)
        if isinstance(value, bytes | bytearray | memoryview) and len(value):
            return bytes(value)
        if isinstance(value, str) and value:
            raise UnsupportedImage(
                f"the part {name!r} is text, not an image",
                expected="the image file's bytes",
                got=repr(value[:20]),
                remedy="curl: -F image=@image.jpg (with the @).",
            )
    raise _missing_image()


def _missing_image() -> BadRequest:
    return BadRequest(
        "the request has no image",
        expected="the image as the raw body, as the multipart part 'image', "
        "or as base64 in the JSON field 'image'",
        got="nothing",
        remedy="curl: -F image=@image.jpg -F target=open_rate",
    )


def _text_parts(parts: Fields) -> dict[str, str]:
    """Return the parts that are not the image, as text."""
    texts = {}
    for name, value in parts.items():
        if name in IMAGE_PARTS:
            continue
        if isinstance(value, bytes | bytearray):
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadRequest(
                    f"the field {name!r} is not text",
                    expected="UTF-8; the image itself goes in the part 'image'",
                    got=f"{len(value)} bytes",
                ) from error
        texts[name] = value if isinstance(value, str) else json.dumps(value)
    return texts


def _header_fields(name: str, text: str) -> dict[str, Any]:
    """Return the fields of a header; those under ``context`` are merged with the others."""
    if not text.strip().startswith("{"):
        return dict(parse_qsl(text, keep_blank_values=True))
    try:
        values = json.loads(text)
        context = values.pop("context", None) or {}
        return {**dict(context), **values}
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest(
            f"the header {name} is not valid JSON",
            expected='{"target": "open_rate", ...} or target=open_rate&...',
            got=str(error),
        ) from error
