"""What comes in over the wire, whatever the server: bytes and fields to a Request.

Three ways to say the same thing, all usable from any language:

- JSON: ``{"image": "<base64>", "target": "open_rate", "context": {"campaign_type": "Newsletter"},
  "candidates": ["brighter"], "alternates": 5, "thumbnails": false}``
- ``multipart/form-data``: the image as ``image``, every other part a field; a field that is not
  an option is context.
- the raw image as ``image/jpeg|png|webp|gif``, with the fields in the header
  ``X-Augrank-Fields`` or, behind SageMaker, ``X-Amzn-SageMaker-Custom-Attributes``: a JSON object,
  or ``target=open_rate&campaign_type=Newsletter``. (TorchServe drops the query string.)
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, Field, ValidationError, field_validator

from augrank.errors import BadRequest, UnsupportedImage, one_of
from augrank.images.decode import RgbImage

JSON_TYPE, MULTIPART_TYPE = "application/json", "multipart/form-data"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif")
ACCEPTED_TYPES = (*IMAGE_TYPES, MULTIPART_TYPE, JSON_TYPE)
FIELD_HEADERS = ("x-augrank-fields", "x-amzn-sagemaker-custom-attributes")
IMAGE_FIELDS = ("image", "data", "body")  # multipart names of the image, in order of choice
DEFAULT_ALTERNATES, MAX_ALTERNATES = 5, 100
MAX_TEXT = 200  # characters of a field's value; the answer repeats them


@dataclass(frozen=True)
class Request:
    """One image, one target, one context, and what the answer should hold."""

    image: bytes | RgbImage  # a file's bytes, or uint8 (H, W, 3) RGB
    target: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[str, ...] | None = None  # augmentation names; None means all
    alternates: int = DEFAULT_ALTERNATES
    thumbnails: bool = False


class Options(BaseModel, extra="forbid"):
    """The fields of a request beside its image, validated."""

    target: str | None = Field(default=None, max_length=MAX_TEXT)
    context: dict[str, Any] = Field(default_factory=dict)
    candidates: list[str] | None = Field(default=None, max_length=MAX_TEXT)
    alternates: int = Field(default=DEFAULT_ALTERNATES, ge=0, le=MAX_ALTERNATES)
    thumbnails: bool = False

    @field_validator("context")
    @classmethod
    def _plain_values(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, item in value.items():
            plain = item is None or isinstance(item, str | int | float)
            if not plain or len(str(item)) > MAX_TEXT or len(name) > MAX_TEXT:
                raise ValueError(
                    f"expected text or a number of at most {MAX_TEXT} characters for {name[:40]!r}"
                )
        return value


def parse_request(
    fields: Mapping[str, Any],
    headers: Mapping[str, str],
    defaults: Mapping[str, Any] | None = None,
) -> Request:
    """Read one request.

    Args:
        fields: the parts of the body by name, as a model server hands them over: ``body`` for an
            undivided body (bytes, or a dict where the server has read the JSON already), or the
            parts of a multipart body.
        headers: request headers, names in lower case.
        defaults: fields of every request that does not say otherwise.

    Raises:
        BadRequest, UnsupportedImage: what is wrong and what is allowed.
    """
    extra: dict[str, Any] = dict(defaults or {})
    for name in FIELD_HEADERS:
        extra |= _header_fields(name, headers.get(name, ""))
    content_type = headers.get("content-type", "").split(";")[0].strip().lower()
    body = fields.get("body")
    if isinstance(body, dict) or content_type == JSON_TYPE:
        return _from_json(body, {**extra, **_texts(fields)})
    # Without a type, or as application/octet-stream, the image's own header decides.
    if body is not None and content_type not in (*ACCEPTED_TYPES, "", "application/octet-stream"):
        raise UnsupportedImage(
            "the content type is not accepted",
            expected=one_of(ACCEPTED_TYPES, content_type),
            got=content_type,
            remedy="curl: -H 'Content-Type: image/jpeg' -H 'X-Augrank-Fields: target=open_rate' "
            "--data-binary @image.jpg",
        )
    image = _image_of(fields)
    return _request(image, _options_from_fields({**extra, **_texts(fields)}))


def _from_json(body: Any, defaults: Mapping[str, Any]) -> Request:
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
    merged = {**_options_from_fields(defaults).model_dump(exclude_unset=True), **content}
    if isinstance(content.get("context"), dict):
        merged["context"] = {**_options_from_fields(defaults).context, **content["context"]}
    return _request(_from_base64(encoded), _validated(merged))


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


def _image_of(fields: Mapping[str, Any]) -> bytes:
    for name in IMAGE_FIELDS:
        value = fields.get(name)
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


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields that are not the image, as text."""
    texts = {}
    for name, value in fields.items():
        if name in IMAGE_FIELDS:
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


def _options_from_fields(fields: Mapping[str, Any]) -> Options:
    """Flat fields: the options by name, everything else is context; None counts as left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    options = {name: value for name, value in given.items() if name in Options.model_fields}
    if "context" in options:
        raise BadRequest(
            "context is given field by field here",
            expected="one field for each column, such as campaign_type=Newsletter",
            got="a field named context",
        )
    context = {name: value for name, value in given.items() if name not in options}
    if context:
        options["context"] = context
    if isinstance(options.get("candidates"), str):
        options["candidates"] = [name for name in options["candidates"].split(",") if name]
    return _validated(options)


def _validated(options: Mapping[str, Any]) -> Options:
    try:
        return Options.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise BadRequest(
                f"the field {name!r} is not known",
                expected=one_of(["image", *Options.model_fields], name),
                got=repr(name),
            ) from error
        raise BadRequest(
            f"the field {name!r} does not fit: {first['msg']}", got=repr(first["input"])[:60]
        ) from error


def _request(image: bytes, options: Options) -> Request:
    return Request(
        image=image,
        target=options.target,
        context=options.context,
        candidates=tuple(options.candidates) if options.candidates is not None else None,
        alternates=options.alternates,
        thumbnails=options.thumbnails,
    )
