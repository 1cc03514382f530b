"""Encode campaign context as numbers, the same in training and serving.

A categorical column becomes one column per value seen in training (one-hot); a numeric column
passes through. A request may leave a column out only if training saw rows without it. Values match
regardless of case and separators: ``product-announcement`` is ``Product Announcement``.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from augrank.arrays import Float32Array
from augrank.errors import BadContext, one_of

ContextValue = str | float | int
MAX_NUMBER = float(np.finfo(np.float32).max)
BLANK = ""  # a row or a request that leaves the column out
_SEPARATORS = re.compile(r"[\s_-]+")


def normalize_category(text: str) -> str:
    """Return the text in lower case, with single spaces in place of spaces, ``_`` and ``-``.

    An accent is one character, whether the text has it so or as a mark of its own (NFC).
    """
    return unicodedata.normalize("NFC", _SEPARATORS.sub(" ", text).strip().casefold())


class Vocabulary:
    """Category values, found by any spelling that differs only in case or separators.

    Values that normalise alike are distinct categories: each is found by its exact spelling only.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self.values = tuple(values)
        self._exact = frozenset(self.values)
        self._alike: dict[str, tuple[str, ...]] = {}
        for value in self.values:
            key = normalize_category(value)
            self._alike[key] = (*self._alike.get(key, ()), value)

    def find(self, text: str) -> str | None:
        """Return the matching value, or None if there is none, or more than one."""
        if text in self._exact:
            return text
        alike = self.alike(text)
        return alike[0] if len(alike) == 1 else None

    def alike(self, text: str) -> tuple[str, ...]:
        """Return the values that normalise to the same text; none if that is empty."""
        key = normalize_category(text)
        return self._alike.get(key, ()) if key else ()

    def remedy(self, text: str, otherwise: str) -> str:
        """Return the remedy for a text that was not found."""
        alike = self.alike(text)
        if len(alike) < 2:
            return otherwise
        names = " and ".join(map(repr, alike))
        return f"{names} differ only in case or separators: give one of them exactly."


class CategoricalColumn(BaseModel, frozen=True):
    """A column with a fixed vocabulary, sorted; BLANK is in it if training saw blanks."""

    kind: Literal["categorical"] = "categorical"
    name: str
    values: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of encoded values of this column."""
        return len(self.values)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The values, found regardless of case and separators."""
        return Vocabulary(self.values)

    def encode(self, value: Any, out: Float32Array) -> None:
        """Write the one-hot row, float32 (width,), zeros on entry."""
        text = BLANK if value is None else str(value)
        found = self.vocabulary.find(text)
        if found is None:
            allowed = one_of([item for item in self.values if item != BLANK], text)
            raise BadContext(
                f"context {self.name!r} has a value that the heads were not trained on"
                if text != BLANK
                else f"context {self.name!r} is missing",
                expected=allowed,
                got="nothing" if text == BLANK else repr(value),
                remedy=self.vocabulary.remedy(text, f"Give {self.name} one of the listed values."),
            )
        out[self.values.index(found)] = 1.0


class NumericColumn(BaseModel, frozen=True):
    """A number, with the range that training saw (for messages and the model card only)."""

    kind: Literal["numeric"] = "numeric"
    name: str
    low: float
    high: float

    @property
    def width(self) -> int:
        """The number of encoded values of this column."""
        return 1

    def encode(self, value: Any, out: Float32Array) -> None:
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

    def encode(self, context: Mapping[str, Any]) -> Float32Array:
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

    def canonical(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the context with every category in the spelling that training saw.

        Unknown values are left unchanged, for ``encode`` to reject.
        """
        spelled = dict(context)
        for column in self.columns:
            value = spelled.get(column.name)
            if isinstance(column, CategoricalColumn) and isinstance(value, str):
                spelled[column.name] = column.vocabulary.find(value) or value
        return spelled

    def example(self) -> dict[str, ContextValue]:
        """Return a context that this encoder accepts, for warm-up and example requests."""
        return {
            column.name: next((v for v in column.values if v != BLANK), BLANK)
            if isinstance(column, CategoricalColumn)
            else column.low
            for column in self.columns
        }

    def draw(self, rng: np.random.Generator) -> dict[str, ContextValue]:
        """Draw a context from the values that training saw; blank values are left out."""
        drawn: dict[str, ContextValue] = {}
        for column in self.columns:
            if isinstance(column, CategoricalColumn):
                drawn[column.name] = str(rng.choice(column.values))
            else:
                drawn[column.name] = round(float(rng.uniform(column.low, column.high)), 3)
        return {name: value for name, value in drawn.items() if value != BLANK}

    def encode_many(self, contexts: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Encode many contexts to float32 (N, width)."""
        out = np.zeros((len(contexts), self.width), np.float32)
        for row, context in zip(out, contexts, strict=True):
            row[:] = self.encode(context)
        return out


def _finite_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= MAX_NUMBER else None  # NaN is not
