"""A recommendation request: its options, and parsing them from a body and its fields.

As JSON: ``{"image": "<base64>", "target": "open_rate", "context": {"campaign_type": "Newsletter"},
"candidates": ["brighter"], "augmentation": "original", "min_lift": 0.0, "alternates": 5,
"thumbnails": false}``. Flat fields (multipart parts,
headers) have the same names, and every field that is not an option is context.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from augrank.contracts.request_fields import MAX_TEXT
from augrank.contracts.validation import first_fault
from augrank.errors import BadRequest, one_of
from augrank.images.augmentations import ORIGINAL
from augrank.images.decode import DecodedImage, RgbImage
from augrank.tasks.base import RequestBody

DEFAULT_ALTERNATES, MAX_ALTERNATES = 5, 100
MAX_MIN_LIFT = 10.0
MAX_CANDIDATES = 100  # names in a request; a bundle has fewer


@dataclass(frozen=True)
class Request:
    """One image, target and context, and the contents of the answer."""

    # A file's bytes, uint8 (H, W, 3) RGB, or a file's image that is decoded.
    image: bytes | RgbImage | DecodedImage
    target: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[str, ...] | None = None  # augmentation names; None means all
    alternates: int = DEFAULT_ALTERNATES
    thumbnails: bool = False
    augmentation: str = ORIGINAL  # already applied to the image
    min_lift: float = 0.0  # that the lower bound of a recommended change exceeds


class Options(BaseModel, extra="forbid"):
    """The fields of a request except its image, validated."""

    target: str | None = Field(default=None, max_length=MAX_TEXT)
    context: dict[str, Any] = Field(default_factory=dict)
    candidates: list[str] | None = Field(default=None, max_length=MAX_CANDIDATES)
    alternates: int = Field(default=DEFAULT_ALTERNATES, ge=0, le=MAX_ALTERNATES)
    thumbnails: bool = False
    augmentation: str = Field(default=ORIGINAL, max_length=MAX_TEXT)
    min_lift: float = Field(default=0.0, ge=0, le=MAX_MIN_LIFT)

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


def parse_request(body: RequestBody) -> Request:
    """Read a request's options; members of a JSON body override fields.

    Raises:
        BadRequest: an option is invalid or unknown.
    """
    if body.images is not None:
        raise BadRequest(
            "a recommendation is for one image",
            expected='{"image": ...}, or several requests as {"instances": [{"image": ...}, ...]}',
            got=f"images: a list of {len(body.images)}",
        )
    options = _options_from_fields(body.fields)
    if body.content:
        merged = {**options.model_dump(exclude_unset=True), **body.content}
        if isinstance(body.content.get("context"), dict):
            merged["context"] = {**options.context, **body.content["context"]}
        options = _validated(merged)
    return Request(
        image=body.image,
        target=options.target,
        context=options.context,
        candidates=tuple(options.candidates) if options.candidates is not None else None,
        alternates=options.alternates,
        thumbnails=options.thumbnails,
        augmentation=options.augmentation,
        min_lift=options.min_lift,
    )


def _options_from_fields(fields: Mapping[str, Any]) -> Options:
    """Read flat fields: the options by name, all others as context; None counts as left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    options = {name: value for name, value in given.items() if name in Options.model_fields}
    if "context" in options:
        raise BadRequest(
            "context must be given as separate fields",
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
        fault = first_fault(error)
        if fault.kind == "extra_forbidden":
            raise BadRequest(
                f"the field {fault.name!r} is not known",
                expected=one_of(["image", *Options.model_fields], fault.name),
                got=repr(fault.name),
            ) from error
        raise BadRequest(
            f"the field {fault.name!r} does not fit",
            expected=fault.expected,
            got=repr(fault.value)[:60],
        ) from error
