"""Columns of text, held as the distinct texts and a code for each row.

Most columns of a manifest have few distinct texts. Checks work on these, and spread what they find
to the rows: ten million rows take a byte each, and no Python object.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.manifest.cells import CellCodes

Codes = NDArray[np.signedinteger[Any]]
PART = 2**16  # codes that a builder collects before it compacts them


class TextColumn:
    """The cells of a column.

    Args:
        codes: signed integers (N,), the number of each row's text.
        texts: (K,) different ones, the first of which is ``""``. Some may not occur.

    Attributes:
        codes: (N,), of the smallest type that holds K.
    """

    def __init__(self, codes: Codes, texts: "Sequence[str] | pd.Index[str]") -> None:
        self.codes = codes.astype(_smallest(len(texts)), copy=False)
        self._texts = texts

    @classmethod
    def of(cls, column: "TextColumn | pd.Series[str] | Sequence[str]") -> "TextColumn":
        """Return the column that holds these cells: a series of text or categories, or a list."""
        if isinstance(column, TextColumn):
            return column
        if isinstance(column, pd.Series) and isinstance(column.dtype, pd.CategoricalDtype):
            codes, texts = column.cat.codes.to_numpy(), column.cat.categories
            if len(texts) and texts[0] == "":
                return cls(codes, texts)
        else:
            codes, texts = pd.factorize(np.asarray(column, object))
        numbers, distinct = _numbered(map(str, texts))
        return cls(numbers[codes] if len(codes) else codes, distinct)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str:
        return self.texts[int(self.codes[row])]

    def __iter__(self) -> Iterator[str]:
        return map(self.texts.__getitem__, self.codes.tolist())

    @cached_property
    def texts(self) -> Sequence[str]:
        """The distinct texts, (K,); ``""`` is the first."""
        return list(self._texts)

    @property
    def categorical(self) -> pd.Categorical:
        """The column as pandas holds it in a frame; its categories are not ordered."""
        return pd.Categorical.from_codes(self.codes, pd.Index(self._texts, dtype=str))

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which cells are ``""``, (N,)."""
        blank: NDArray[np.bool_] = self.codes == 0
        return blank

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of rows of each text, int64 (K,)."""
        return np.bincount(self.codes, minlength=len(self._texts))

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """The first row of each text, int64 (K,); -1 if it does not occur."""
        return first_rows(self.codes, len(self._texts))

    @property
    def found(self) -> list[str]:
        """The texts that occur, in the order of their first rows."""
        first = self.first_rows
        order = np.argsort(first, kind="stable")
        return [self.texts[code] for code in order[first[order] >= 0].tolist()]

    @property
    def by_frequency(self) -> list[str]:
        """The texts that occur, the most frequent first; on ties in the order of first rows."""
        counts = self.counts
        order = np.lexsort((self.first_rows, -counts))
        return [self.texts[code] for code in order[counts[order] > 0].tolist()]

    def numbered(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the texts that occur, sorted, and the number of each row's, int64 (N,)."""
        used = np.flatnonzero(self.counts).tolist()
        used.sort(key=self.texts.__getitem__)
        number = np.zeros(len(self._texts), np.int64)
        number[used] = np.arange(len(used))
        return tuple(self.texts[code] for code in used), number[self.codes]

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "TextColumn":
        """Return the column of these rows: a mask (N,), or numbers."""
        return TextColumn(self.codes[rows], self._texts)

    def map(self, function: Callable[[str], str]) -> "TextColumn":
        """Return the column with a function of each cell."""
        numbers, texts = _numbered(map(function, self.texts))
        return TextColumn(numbers[self.codes], texts)

    def replace(self, texts: Mapping[str, str]) -> "TextColumn":
        """Return the column with other texts, by what they are now."""
        return self.map(lambda text: texts.get(text, text))

    def has(self, test: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Return which cells pass a test, (N,)."""
        passed: NDArray[np.bool_] = np.array([test(text) for text in self.texts], bool)
        return np.take(passed, self.codes)

    def equals(self, other: "TextColumn") -> NDArray[np.bool_]:
        """Return which cells are those of another column, (N,)."""
        code = {text: number for number, text in enumerate(self.texts)}
        numbers = np.array([code.get(text, -1) for text in other.texts])
        same: NDArray[np.bool_] = self.codes == numbers[other.codes]
        return same

    def where(self, rows: NDArray[np.bool_], other: "TextColumn") -> "TextColumn":
        """Return the column with its own cells in these rows, (N,), and another's elsewhere."""
        numbers, texts = _numbered([*self.texts, *other.texts])
        own, others = np.split(numbers, [len(self.texts)])
        return TextColumn(np.where(rows, own[self.codes], others[other.codes]), texts)


class TextColumnBuilder:
    """Collects the cells of a column, part by part."""

    def __init__(self) -> None:
        self.codes = CellCodes()
        self._recent = array("i")
        self._parts: list[Codes] = []

    def extend(self, cells: Iterable[str]) -> None:
        """Append cells as they were read."""
        self._recent.extend(map(self.codes.__getitem__, cells))
        if len(self._recent) >= PART:
            self._compact()

    def extend_codes(self, codes: NDArray[np.integer[Any]]) -> None:
        """Append cells by their numbers in ``codes``."""
        self._compact()
        self._parts.append(codes.astype(self._type))

    @property
    def has_text(self) -> bool:
        """Whether any cell is not blank."""
        return len(self.codes.texts) > 1

    def build(self) -> TextColumn:
        """Return the column; the builder is then empty."""
        self._compact()
        parts, self._parts = self._parts, []
        codes = np.concatenate(parts, dtype=self._type, casting="same_kind")
        return TextColumn(codes, self.codes.texts)

    @property
    def _type(self) -> np.dtype[Any]:
        return _smallest(len(self.codes.texts))

    def _compact(self) -> None:
        self._parts.append(np.array(self._recent, self._type))
        self._recent = array("i")


def first_rows(codes: Codes, count: int) -> NDArray[np.int64]:
    """Return the first row of each code, int64 (count,); -1 if it does not occur."""
    first = np.full(count, -1)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the first one is written last
    return first


def combinations(
    columns: Sequence[TextColumn],
) -> tuple[list[tuple[str, ...]], NDArray[np.int64]]:
    """Return the distinct rows of columns, sorted, and the number of each row's, int64 (N,)."""
    numbered = [column.numbered() for column in columns]
    key = np.zeros(len(columns[0]), np.int64)
    for texts, codes in numbered:
        key = pd.factorize(key * len(texts) + codes, sort=True)[0]
    first = first_rows(key, int(key.max(initial=-1)) + 1)
    cells = ([texts[code] for code in codes[first].tolist()] for texts, codes in numbered)
    return list(zip(*cells, strict=True)), key


def kept_rows(frame: pd.DataFrame, kept: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the kept rows of a frame, numbered anew; itself if these are all."""
    return frame if kept.all() else frame[kept].reset_index(drop=True)


def _smallest(count: int) -> np.dtype[Any]:
    """Return the smallest signed integer type that numbers so many."""
    return np.dtype(np.min_scalar_type(-max(count, 1)))


def _numbered(texts: Iterable[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each text among the distinct ones, and these: ``""``, and as found."""
    code = {"": 0}
    numbers = [code.setdefault(text, len(code)) for text in texts]
    return np.array(numbers, np.int64), list(code)
