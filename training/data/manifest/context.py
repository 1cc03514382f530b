"""The context of a manifest's rows: which columns it has, their kinds, and their encoding."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import DEFAULT_CONTEXT, PRODUCT_TYPE
from augrank.contracts.request_fields import MAX_TEXT, RESERVED
from augrank.errors import DataError, one_of
from augrank.manifest.problems import VALUE, Problems
from augrank.manifest.text_column import TextColumn, combinations
from augrank.manifest.values import is_numeric, numbers
from augrank.models.context import (
    MAX_NUMBER,
    CategoricalColumn,
    ContextColumn,
    ContextEncoder,
    NumericColumn,
    normalize_category,
)

Kind = Literal["categorical", "numeric"]
MAX_VALUES = 1000  # of a categorical context column; more is an identifier
MANY_VALUES = 20  # of text that looks like numbers, from which on it is said
EXACT_INTEGERS = 2**24  # float32 skips some beyond it
_LIKE_A_NUMBER = re.compile(r"[^\w\s]?\s*[+-]?\d[\d.,'\s]*[%\u20ac$\u00a3]?|0[xX][0-9a-fA-F]+")


def find_context(frame: pd.DataFrame, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the context columns: the wanted ones, or the standard ones that the table has.

    Raises:
        DataError: a wanted column that the table does not have, or that no request can carry.
    """
    if wanted is None:
        return tuple(name for name in DEFAULT_CONTEXT if name in frame.columns)
    for name in wanted:
        if name not in frame.columns:
            raise DataError(
                f"the manifest has no context column {name!r}", expected=one_of(frame.columns, name)
            )
        if name in RESERVED:
            raise DataError(
                f"a context column cannot be named {name!r}",
                expected="a name that is not a field of requests",
                remedy=f"Give it another one: --column campaign_{name}={name} "
                f"--context campaign_{name}.",
            )
        if len(name) > MAX_TEXT:
            raise DataError(
                f"the context column {name[:40]!r}... has a long name",
                expected=f"at most {MAX_TEXT} characters",
                got=str(len(name)),
            )
    return tuple(wanted)


def numeric_columns(
    frame: pd.DataFrame, context: Sequence[str], declared: Mapping[str, Kind]
) -> frozenset[str]:
    """Return the context columns that hold numbers: by declaration, or by most of their cells.

    Raises:
        DataError: a declared column is not context.
    """
    for name in declared:
        if name not in context:
            raise DataError(
                f"--context-type names {name!r}, which is not a context column",
                expected=one_of(context, name) if context else "a column that --context names",
            )
    kinds = {
        name: declared.get(name, "numeric" if is_numeric(frame[name]) else "categorical")
        for name in context
    }
    return frozenset(name for name, kind in kinds.items() if kind == "numeric")


def check_context(column: "pd.Series[str]", numeric: bool, problems: Problems) -> None:
    """Check that numbers fit float32, which heads use, and that text fits a request."""
    name, cells = column.name, TextColumn.of(column)
    if numeric:
        values = numbers(cells.texts)
        not_finite = ~np.isfinite(values)[cells.codes]
        problems.add(not_finite, f"{name}: expected a finite number, got {VALUE}", cells)
        too_large = (np.abs(values) > MAX_NUMBER)[cells.codes]
        problems.add(too_large, f"{name}: expected at most {MAX_NUMBER:.1e}, got {VALUE}", cells)
        return
    problems.add(
        cells.has(lambda text: len(text) > MAX_TEXT),
        f"{name}: expected at most {MAX_TEXT} characters, which a request may carry, got {VALUE}",
        cells,
    )


def doubts(
    frame: pd.DataFrame,
    context: Sequence[str],
    numeric: Collection[str],
    declared: Mapping[str, Kind],
) -> tuple[str, ...]:
    """Return notes about columns whose kind may not be what is meant."""
    notes = []
    for name in context:
        if name in declared:
            continue
        values = [value for value in TextColumn.of(frame[name]).found if value]
        declare = f"--context-type {name}=categorical"
        if name not in numeric:
            alike = [value for value in values if _LIKE_A_NUMBER.fullmatch(value)]
            if len(alike) > max(MANY_VALUES, len(values) / 2):
                notes.append(
                    f"{name}: {len(alike):,} categories look like numbers, such as {alike[0]!r}; "
                    f"write numbers plainly (1234.5), or declare categories: {declare}"
                )
            continue
        coded = next((v for v in values if v.lstrip("+-").startswith("0") and v.isdigit()
                      and len(v) > 1), None)  # fmt: skip
        large = next((v for v in values if abs(float(v)) > EXACT_INTEGERS and v.isdigit()), None)
        if coded or large:
            why = "has leading zeros" if coded else "is more than float32 tells apart"
            notes.append(
                f"{name}: {coded or large!r} {why}, and is read as a number; if it is a code, "
                f"declare categories: {declare}"
            )
    return tuple(notes)


def merge_spellings(
    frame: pd.DataFrame, context: Sequence[str], numeric: Collection[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give each category one spelling: the most frequent, on ties the first.

    Spellings belong to one category if only case and separators differ (``normalize_category``).

    Args:
        frame: the rows.
        context: columns; of the others, the product type of alternates is a category too.
        numeric: those of numbers, which are left as they are.

    Returns:
        The frame, and a note for each column in which spellings were merged.
    """
    notes = []
    for name in dict.fromkeys([*context, *({PRODUCT_TYPE} & set(frame.columns))]):
        if name in numeric:
            continue
        spellings: dict[str, list[str]] = {}
        cells = TextColumn.of(frame[name])
        for value in cells.by_frequency:
            spellings.setdefault(normalize_category(value) or value, []).append(value)
        merged = {first: others for first, *others in spellings.values() if others}
        if merged:
            chosen = {other: first for first, others in merged.items() for other in others}
            frame = frame.assign(**{name: cells.replace(chosen).categorical})
            read = (f"{', '.join(map(repr, o))} as {first!r}" for first, o in merged.items())
            notes.append(f"{name}: read " + "; ".join(read))
    return frame, tuple(notes)


def context_columns(
    frame: pd.DataFrame, context: Sequence[str], numeric: Collection[str]
) -> tuple[ContextColumn, ...]:
    """Describe the context columns: numeric ones by their range, categorical ones by values."""
    columns: list[ContextColumn] = []
    for name in context:
        found = TextColumn.of(frame[name]).found
        if name in numeric:
            values = numbers(found)
            low, high = float(values.min()), float(values.max())
            columns.append(NumericColumn(name=name, low=low, high=high))
            continue
        vocabulary = tuple(sorted(found))
        if len(vocabulary) > MAX_VALUES:
            raise DataError(
                f"context column {name!r} looks like an identifier",
                expected=f"at most {MAX_VALUES:,} different values",
                got=f"{len(vocabulary):,}",
                remedy="Leave it out of --context.",
            )
        columns.append(CategoricalColumn(name=name, values=vocabulary))
    return tuple(columns)


def encode_context(
    frame: pd.DataFrame, columns: Sequence[ContextColumn]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Encode every distinct context once, with the runtime's encoder.

    Returns:
        The distinct contexts, float32 (K, width), and the context of each row, int64 (N,).
    """
    encoder = ContextEncoder(columns)
    if not columns:
        return np.zeros((1, 0), np.float32), np.zeros(len(frame), np.int64)
    names = [column.name for column in columns]
    distinct, row = combinations([TextColumn.of(frame[name]) for name in names])
    contexts = [dict(zip(names, values, strict=True)) for values in distinct]
    return encoder.encode_many(contexts), row
