"""The first fault of a pydantic ValidationError, in words for a message."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"  # of a model: it is used in URLs and files
NAME_RULE = "letters, digits, - and _, at most 64"


@dataclass(frozen=True)
class Fault:
    """A value that a model refused."""

    name: str  # the field, or dotted path; empty for the whole model
    kind: str  # pydantic's type of error, such as ``missing`` or ``extra_forbidden``
    expected: str  # such as ``greater than or equal to 1``
    value: Any  # as given


def first_fault(error: ValidationError) -> Fault:
    """Return the first fault of an error."""
    first = error.errors()[0]
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "extra_forbidden":
        expected = "no such field"
    if first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == NAME_PATTERN:
        expected = NAME_RULE
    name = ".".join(str(part) for part in first["loc"])
    return Fault(name, first["type"], expected, first["input"])
