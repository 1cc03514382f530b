"""Campaign context to numbers: the one encoding of training and serving.

A categorical column becomes one column per value seen in training (one-hot); a numeric column
passes through. A request may leave a column out only if training saw rows that left it out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.errors import BadContext, one_of

ContextValue = str | float | int
MAX_NUMBER = float(np.finfo(np.float32).max)
SEPARATORS = re.compile(r"[\s_-]+")
BLANK = ""  # a row or a request that leaves the column out


class CategoricalColumn(BaseModel, frozen=True):
    """A column with a fixed vocabulary, sorted; BLANK is in it if training saw blanks."""

    kind: Literal["categorical"] = "categorical"
    name: str
    values: tuple[str, ...]

    @property
    def width(self) -> int:
        """How many numbers this column becomes."""
        return len(self.values)

    def encode(self, value: Any, out: NDArray[np.float32]) -> None:
        """Write the one-hot row, float32 (width,), zeros on entry."""
        text = BLANK if value is None else str(value)
        if text not in self.values:
            allowed = one_of([item for item in self.values if item != BLANK], text)
            raise BadContext(
                f"context {self.name!r} has a value that the heads were not trained on"
                if text != BLANK
                else f"context {self.name!r} is missing",
                expected=allowed,
                got="nothing" if text == BLANK else repr(value),
                remedy=f"Give {self.name} one of the listed values.",
            )
        out[self.values.index(text)] = 1.0


class NumericColumn(BaseModel, frozen=True):
    """A number, with the range that training saw (for messages and the model card only)."""

    kind: Literal["numeric"] = "numeric"
    name: str
    low: float
    high: float

    @property
    def width(self) -> int:
        """How many numbers this column becomes."""
        return 1

    def encode(self, value: Any, out: NDArray[np.float32]) -> None:
        """Write the number, float32 (1,)."""
        number = _finite_number(value)
        if number is None:
            raise BadContext(
                f"context {self.name!r} is not a finite number",
                expected=f"a number (training saw {self.low:g} to {self.high:g})",
                got="nothing" if value is None else repr(value),
                remedy=f"Give {self.name} as a plain number.",
            )
        out[0] = number


ContextColumn = Annotated[CategoricalColumn | NumericColumn, Field(discriminator="kind")]


class ContextEncoder:
    """Encodes a context mapping as one float32 row, columns in bundle order."""

    def __init__(self, columns: Sequence[CategoricalColumn | NumericColumn]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        self.width = sum(column.width for column in self.columns)

    def encode(self, context: Mapping[str, Any]) -> NDArray[np.float32]:
        """Encode one context.

        Args:
            context: column name to value; None counts as left out.

        Returns:
            float32 (width,).

        Raises:
            BadContext: an unknown column or value, a missing column, a NaN.
        """
        for name in context:
            if name not in self.names:
                raise BadContext(
                    f"context {name!r} is not known to this bundle",
                    expected=one_of(self.names, name) if self.names else "no context at all",
                    got=repr(name),
                    remedy="Leave it out, or train with --context naming it.",
                )
        row = np.zeros(self.width, np.float32)
        start = 0
        for column in self.columns:
            column.encode(context.get(column.name), row[start : start + column.width])
            start += column.width
        return row

    def example(self) -> dict[str, ContextValue]:
        """A context that this encoder accepts, for warm-up and for command lines to start from."""
        return {
            column.name: next((v for v in column.values if v != BLANK), BLANK)
            if isinstance(column, CategoricalColumn)
            else column.low
            for column in self.columns
        }

    def draw(self, rng: np.random.Generator) -> dict[str, ContextValue]:
        """A context drawn from what training saw; blank values are left out."""
        drawn: dict[str, ContextValue] = {}
        for column in self.columns:
            if isinstance(column, CategoricalColumn):
                drawn[column.name] = str(rng.choice(column.values))
            else:
                drawn[column.name] = round(float(rng.uniform(column.low, column.high)), 3)
        return {name: value for name, value in drawn.items() if value != BLANK}

    def encode_many(self, contexts: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Encode many contexts to float32 (N, width)."""
        out = np.zeros((len(contexts), self.width), np.float32)
        for row, context in zip(out, contexts, strict=True):
            row[:] = self.encode(context)
        return out


def normalize_category(text: str) -> str:
    """Return the form in which spellings of one category are equal.

    Case and separators do not count: "Product Announcement", "product-announcement" and
    "Product_Announcement" are one.
    """
    return SEPARATORS.sub(" ", text).strip().casefold()


def _finite_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= MAX_NUMBER else None  # NaN is not
