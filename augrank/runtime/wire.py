"""Read HTTP headers and bodies into a ``RequestBody``, the same for every task.

Three equivalent forms, all usable from any language:

- JSON: ``{"image": "<base64>", ...}`` with the task's options beside the image, or ``{"images":
  ["<base64>", ...], ...}`` for tasks that answer for several, or ``urls`` in their place, if the
  server allows it; or several such objects as
  ``{"instances": [...]}``, the form of KServe and TensorFlow Serving.
- ``multipart/form-data``: the image as ``image``, every other part a field.
- the raw image under any type of image, or none, with the fields in the header
  ``X-Augrank-Fields`` or, behind SageMaker, ``X-Amzn-SageMaker-Custom-Attributes``: a JSON object,
  or ``target=open_rate&campaign_type=Newsletter``. (TorchServe drops the query string.)

JSON that was sent without its content type is recognised. A body may be compressed
(``Content-Encoding: gzip``). The task's ``parse`` interprets the fields.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from augrank.contracts.request_fields import IMAGE_PARTS
from augrank.errors import (
    BadRequest,
    ImageNotFetched,
    ImageTooLarge,
    RequestError,
    UnsupportedImage,
    one_of,
)
from augrank.images.decode import DecodeLimits
from augrank.images.formats import format_of
from augrank.runtime.json_images import (
    IMAGES,
    MAX_IMAGES,
    URLS,
    from_base64,
    kind_of,
    listed_urls,
    several_images,
)
from augrank.tasks.base import RequestBody

Fields = Mapping[str, Any]
JSON_TYPE, MULTIPART_TYPE = "application/json", "multipart/form-data"
FORM_TYPE = "application/x-www-form-urlencoded"  # curl's, unless it is told another
ACCEPTED_TYPES = ("image/jpeg", "image/png", "image/*", MULTIPART_TYPE, JSON_TYPE)
# Types of a raw image, beside image/*; decode.py recognises the format. SageMaker's own is
# application/x-image.
RAW_TYPES = ("", "application/octet-stream", "binary/octet-stream", "application/x-image")
_MULTIPART_START = re.compile(rb"--[^\r\n]{1,70}\r?\nContent-", re.I)
FIELD_HEADERS = ("x-augrank-fields", "x-amzn-sagemaker-custom-attributes")
INSTANCES, PREDICTIONS = "instances", "predictions"
MAX_INSTANCES = 32
MAX_BODY_BYTES = 2 * DecodeLimits.size_bytes  # once decompressed: base64 takes a third more
MAX_MEMBERS = 16
_SHOWN_PARTS = 5


@dataclass(frozen=True)
class Requests:
    """The requests of one HTTP request."""

    bodies: tuple[RequestBody, ...]
    instances: bool = False  # whether they came, and are answered, as a list
    # Images to download, by the number of their body.
    urls: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def read_requests(
    parts: Fields,
    headers: Mapping[str, str],
    defaults: Fields | None = None,
    *,
    allow_urls: bool = False,
) -> Requests:
    """Read one HTTP request; ``url_images`` downloads what it names by URL.

    Args:
        parts: the parts of the body by name, as a model server passes them: ``body`` for an
            undivided body (bytes, or a dict if the server has already parsed the JSON), or the
            parts of a multipart body.
        headers: request headers, names in lower case.
        defaults: fields that a request may override.
        allow_urls: whether images may be named by URL.

    Raises:
        BadRequest, UnsupportedImage, ImageTooLarge: the request is not of an accepted form.
    """
    fields: dict[str, Any] = dict(defaults or {})
    for name in FIELD_HEADERS:
        fields |= _header_fields(name, headers.get(name, ""))
    content_type = headers.get("content-type", "").split(";")[0].strip().lower()
    parts = _decompressed(parts, headers.get("content-encoding", ""))
    body = parts.get("body")
    if content_type == JSON_TYPE or _is_json_object(body):
        return _read_json(parts, fields, allow_urls=allow_urls)
    if body is None:  # the server has divided it
        if content_type == FORM_TYPE:
            raise _form_instead_of_image()
        content_type = MULTIPART_TYPE
    else:
        _check_image_type(content_type, body)
    image = _image_part(parts, divided=content_type == MULTIPART_TYPE)
    body_fields = {**fields, **_text_parts(parts)}
    return Requests((RequestBody(image, body_fields, {}, urls_allowed=allow_urls),))


def read_body(
    parts: Fields, headers: Mapping[str, str], defaults: Fields | None = None
) -> RequestBody:
    """Read one HTTP request that holds one request; see ``read_requests``."""
    (body,) = read_requests(parts, headers, defaults).bodies
    return body


def _is_json_object(body: Any) -> bool:
    """Return whether a body is a JSON object, whatever type it was sent as."""
    if isinstance(body, dict):
        return True
    first = _first_bytes(body)
    return format_of(first) == "JSON" and first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _check_image_type(content_type: str, body: Any) -> None:
    """Check that an undivided body is to be read as an image: by its type, or its first bytes.

    Raises:
        BadRequest: it is multipart.
        UnsupportedImage: its type is of something else, and so are its first bytes.
    """
    if _MULTIPART_START.match(_first_bytes(body)):
        raise BadRequest(
            "the body is multipart, and its content type does not say so",
            expected="Content-Type: multipart/form-data; boundary=...",
            got=f"Content-Type: {content_type}" if content_type else "no Content-Type",
            remedy="Let the client set this header: it knows the boundary.",
        )
    if content_type.startswith("image/") or content_type in RAW_TYPES:
        return
    if content_type != MULTIPART_TYPE and format_of(_first_bytes(body)) is None:
        raise UnsupportedImage(
            "the content type is not accepted",
            expected=one_of(ACCEPTED_TYPES, content_type),
            got=content_type,
            remedy="curl: -H 'Content-Type: image/jpeg' -H 'X-Augrank-Fields: target=open_rate' "
            "--data-binary @image.jpg",
        )


def _first_bytes(body: Any) -> bytes:
    return bytes(body[:512]) if isinstance(body, bytes | bytearray) else b""


def _form_instead_of_image() -> BadRequest:
    """Return the error of a body that the server has taken apart as the fields of a form."""
    return BadRequest(
        "the body was read as a form, which cannot hold an image",
        expected="Content-Type: image/jpeg for an image, application/json for JSON",
        got=f"Content-Type: {FORM_TYPE}, which curl sends by itself",
        remedy="curl: -H 'Content-Type: image/jpeg' --data-binary @image.jpg, or "
        "-F image=@image.jpg -F target=open_rate",
    )


def _decompressed(parts: Fields, encoding: str) -> Fields:
    """Return the parts of a body that was sent with a Content-Encoding.

    Raises:
        BadRequest: the encoding is not known, or the body is not of it.
        ImageTooLarge: the body is too large.
    """
    encoding, body = encoding.strip().lower(), parts.get("body")
    if encoding not in ("", "identity") and body is None:
        raise BadRequest(
            "a compressed multipart body cannot be read",
            expected="multipart without Content-Encoding, or a compressed image or JSON",
            got=f"Content-Encoding: {encoding}",
        )
    if encoding in ("", "identity") or not isinstance(body, bytes | bytearray):
        return parts
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadRequest(
            "the content encoding is not accepted", expected="gzip, or none", got=encoding
        )
    content, rest = b"", bytes(body)
    for _ in range(MAX_MEMBERS):  # of gzip; most files have one
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip and zlib, by the header
        try:
            content += unpacker.decompress(rest, MAX_BODY_BYTES + 1 - len(content))
        except zlib.error as error:
            raise BadRequest(
                f"the body is not {encoding}, as Content-Encoding says", got=str(error)
            ) from error
        if len(content) > MAX_BODY_BYTES:
            raise ImageTooLarge(
                "the body is too large", expected=f"at most {MAX_BODY_BYTES:,} bytes, decompressed"
            )
        if not unpacker.eof:
            raise BadRequest(f"the body is cut: the end of its {encoding} data is missing")
        rest = unpacker.unused_data
        if not rest:
            break
    return {**parts, "body": content}


def _read_json(parts: Fields, fields: Fields, *, allow_urls: bool) -> Requests:
    body = parts.get("body")
    if isinstance(body, bytes | bytearray | str):
        if not body:
            raise _missing_image(parts)
        try:
            body = _parsed(body)
        except ValueError as error:
            raise BadRequest("the body is not valid JSON", got=str(error)) from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object", got=type(body).__name__)
    common = {**fields, **_text_parts(parts)}
    if INSTANCES in body:
        return _read_instances(body, common, allow_urls=allow_urls)
    read, urls = _json_request(body, common, "the body", allow_urls)
    return Requests((read,), urls={0: urls} if urls else {})


def _read_instances(body: Fields, common: Fields, *, allow_urls: bool) -> Requests:
    instances = body[INSTANCES]
    if not isinstance(instances, list) or not 0 < len(instances) <= MAX_INSTANCES:
        raise BadRequest(
            f"{INSTANCES} does not fit",
            expected=f"a list of 1 to {MAX_INSTANCES} objects",
            got=f"a list of {len(instances)}"
            if isinstance(instances, list)
            else kind_of(instances),
        )
    beside = {name: value for name, value in body.items() if name != INSTANCES}
    bodies, urls_of = [], dict[int, tuple[str, ...]]()
    for number, instance in enumerate(instances):
        where = f"{INSTANCES}[{number}]"
        if not isinstance(instance, dict):
            raise BadRequest(f"{where} is not a JSON object", got=kind_of(instance))
        try:
            read, urls = _json_request({**beside, **instance}, common, where, allow_urls)
        except RequestError as error:
            raise error.at(where) from error
        bodies.append(read)
        if urls:
            urls_of[number] = urls
    count = sum(1 if read.images is None else len(read.images) for read in bodies)
    if count > MAX_IMAGES:
        raise BadRequest(
            f"{INSTANCES} have too many images",
            expected=f"at most {MAX_IMAGES} in all",
            got=f"{count:,}",
            remedy="Send several requests.",
        )
    return Requests(tuple(bodies), instances=True, urls=urls_of)


def _parsed(body: bytes | bytearray | str) -> Any:
    """Parse JSON whose objects have each name once.

    Raises:
        BadRequest: an object has a name twice.
        ValueError: it is not JSON.
    """

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise BadRequest(f"the JSON has {twice[:40]!r} twice", expected="each name once")
        return found

    try:
        return json.loads(body, object_pairs_hook=unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _json_request(
    value: Any, fields: Fields, where: str, allow_urls: bool
) -> tuple[RequestBody, tuple[str, ...]]:
    """Return a request, and the URLs of its images, if it names them so."""
    if not isinstance(value, dict):
        raise BadRequest(f"{where} is not a JSON object", got=kind_of(value))
    content = dict(value)
    forms = [name for name in ("image", IMAGES, URLS) if name in content]
    if len(forms) > 1:
        raise BadRequest(f"{where} has {' and '.join(forms)}", expected="one of them")
    image, images, urls = b"", None, tuple[str, ...]()
    if forms == [IMAGES]:
        images = several_images(content.pop(IMAGES))
    elif forms == [URLS]:
        urls = listed_urls(content.pop(URLS), allowed=allow_urls)
        images = (ImageNotFetched("the image was not downloaded"),) * len(urls)
    elif encoded := content.pop("image", None):
        image = from_base64(encoded)
    else:
        raise _missing_image({}, content)
    return RequestBody(image, fields, content, images, allow_urls), urls


def _image_part(parts: Fields, *, divided: bool) -> bytes:
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
    raise _missing_image(parts, divided=divided)


def _missing_image(
    parts: Fields, content: Fields | None = None, *, divided: bool = False
) -> BadRequest:
    """Return the error of a request without an image; it names what there is instead."""
    names = [name for name in (content if content is not None else parts) if name != "body"]
    got, remedy = "nothing", "curl: -F image=@image.jpg -F target=open_rate"
    if names:
        listed = ", ".join(str(name)[:40] for name in names[:_SHOWN_PARTS])
        got = f"{'fields' if content is not None else 'parts'}: {listed}"
        if divided:
            remedy += ". If the image was sent, the end of the body is missing: --BOUNDARY--"
    elif divided:
        got = "a multipart body without a complete part"
        remedy = "Its last line must be --BOUNDARY--, with the boundary of the Content-Type header."
    return BadRequest(
        "the request has no image",
        expected="the image as the raw body, as the multipart part 'image', "
        "or as base64 in the JSON field 'image'",
        got=got,
        remedy=remedy,
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
    text = _utf8(text)
    if not text.strip().startswith("{"):
        return dict(parse_qsl(text, keep_blank_values=True))
    try:
        values = _parsed(text)
        context = values.pop("context", None) or {}
        return {**dict(context), **values}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadRequest(
            f"the header {name} is not valid JSON",
            expected='{"target": "open_rate", ...} or target=open_rate&...',
            got=str(error),
        ) from error


def _utf8(text: str) -> str:
    """Return a header's text; servers read its bytes as Latin-1, and clients write UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
