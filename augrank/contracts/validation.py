"""The first fault of a pydantic ValidationError, in words for a message."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


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
    name = ".".join(str(part) for part in first["loc"])
    return Fault(name, first["type"], expected, first["input"])
