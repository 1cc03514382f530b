"""A classification request: one image or several, its options, and parsing them from a body.

As JSON: ``{"image": "<base64>", "review_kind": "Style Review", "coverage": 0.9, "top": 3,
"configured": {"colour": "red"}}``, or
``{"images": ["<base64>", ...], ...}`` for up to 100 images. Flat fields (multipart parts, headers)
have the same names.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from augrank.contracts.request_fields import MAX_TEXT
from augrank.contracts.validation import first_fault
from augrank.errors import AugrankError, BadRequest, one_of
from augrank.images.decode import DecodedImage, RgbImage
from augrank.tasks.base import RequestBody

DEFAULT_COVERAGE, DEFAULT_TOP = 0.9, 3
MAX_CONFIGURED, MAX_TOP = 20, 10_000
Image = bytes | RgbImage | DecodedImage  # a file's bytes; uint8 (H, W, 3) RGB; a file, decoded
Sent = Image | AugrankError  # an image, or why it could not be read


@dataclass(frozen=True)
class Request:
    """Images, and the contents of the answer."""

    images: tuple[Sent, ...]
    review_kind: str | None = None  # decides what earns credit
    coverage: float = DEFAULT_COVERAGE  # of prediction sets
    top: int = DEFAULT_TOP  # classes listed for each label
    configured: Mapping[str, str] = field(default_factory=dict)  # tags that win, by label
    single: bool = False  # whether an image that cannot be read fails the request


class Options(BaseModel, extra="forbid"):
    """The fields of a request except its images, validated."""

    review_kind: str | None = Field(default=None, max_length=MAX_TEXT)
    coverage: float = Field(default=DEFAULT_COVERAGE, ge=0.5, lt=1)
    top: int = Field(default=DEFAULT_TOP, ge=1, le=MAX_TOP)
    configured: dict[str, str] = Field(default_factory=dict, max_length=MAX_CONFIGURED)

    @field_validator("configured", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Read JSON text, as flat fields hold it."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError('expected JSON such as {"colour": "red"}') from error


def parse_request(body: RequestBody) -> Request:
    """Read a request's options; members of a JSON body override fields.

    Raises:
        BadRequest: an option is invalid or unknown.
    """
    fields = {name: value for name, value in body.fields.items() if value is not None}
    options = validated({**fields, **body.content}, urls_allowed=body.urls_allowed)
    single = body.images is None
    return Request(
        (body.image,) if body.images is None else body.images,
        options.review_kind,
        options.coverage,
        options.top,
        options.configured,
        single,
    )


def validated(options: Mapping[str, Any], *, urls_allowed: bool = False) -> Options:
    """Validate a request's options.

    Args:
        options: by name.
        urls_allowed: whether the request might have named its images by URL.

    Raises:
        BadRequest: an option is invalid or unknown.
    """
    try:
        return Options.model_validate(options)
    except ValidationError as error:
        fault = first_fault(error)
        if fault.kind == "extra_forbidden":
            images = ["image", "images", *(["urls"] if urls_allowed else [])]
            raise BadRequest(
                f"the field {fault.name!r} is not known",
                expected=one_of([*images, *Options.model_fields], fault.name),
                got=repr(fault.name),
            ) from error
        raise BadRequest(
            f"the field {fault.name!r} does not fit",
            expected=fault.expected,
            got=repr(fault.value)[:60],
        ) from error
