"""The bad rows of a manifest: collected, listed by line, or left out."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.errors import DataError
from augrank.files import atomic_write
from augrank.manifest.text_column import TextColumn

MAX_SHOWN_ROWS = 10
VALUE = "{the row's value}"  # in a reason; names of columns may have braces, too


@dataclass(frozen=True)
class Table:
    """Rows of text; blank, null and NaN cells of the file are ``""``."""

    source: Path
    frame: pd.DataFrame  # (N rows); each column holds categories of text (``TextColumn``)
    lines: NDArray[np.int64]  # line numbers in a text file, row numbers in Parquet, from 1
    unit: str  # what ``lines`` counts: line, row or image
    notes: tuple[str, ...] = ()  # changes made while reading, for the user
    # Why rows could not be read, by number of the row.
    bad: Mapping[int, str] = field(default_factory=dict)
    # Columns that the file itself declares to hold several classes at once, joined by ``|``.
    several: frozenset[str] = frozenset()


@dataclass(frozen=True, order=True)
class BadRow:
    """A row that is left out."""

    line: int  # see ``Table.lines``
    reason: str


class Problems:
    """Collects the bad rows; the first problem found in a row is its reason.

    Args:
        unit: what ``lines`` counts.
        lines: of the rows.
        bad: reasons that are known, by number of the row.
    """

    def __init__(self, unit: str, lines: NDArray[np.int64], bad: Mapping[int, str] = {}) -> None:
        self.unit, self.lines = unit, lines
        self.reasons = dict(bad)
        self.bad = np.zeros(len(lines), bool)
        self.bad[list(bad)] = True

    @classmethod
    def of(cls, table: Table) -> "Problems":
        """Return the problems that were found while the table was read."""
        return cls(table.unit, table.lines, table.bad)

    def add(self, mask: NDArray[np.bool_], why: str, cells: TextColumn | None = None) -> None:
        """Mark rows as bad; VALUE in ``why`` is replaced by the row's cell."""
        for row in np.flatnonzero(mask & ~self.bad).tolist():
            value = quoted(cells[row]) if cells is not None else ""
            self.reasons[row] = why.replace(VALUE, value)
        self.bad |= mask

    def add_each(self, number: NDArray[np.integer[Any]], why: Sequence[str | None]) -> None:
        """Mark rows as bad by what they have in common.

        Args:
            number: (N,) index into ``why``.
            why: reasons; None leaves rows as they are.
        """
        wrong = np.array([reason is not None for reason in why], bool)[number]
        for row in np.flatnonzero(wrong).tolist():
            self.add_row(row, why[number[row]] or "")

    def add_row(self, row: int, why: str) -> None:
        """Mark a row as bad."""
        if not self.bad[row]:
            self.reasons[row], self.bad[row] = why, True

    def settle(self, source: Path, *, skip: bool) -> tuple[BadRow, ...]:
        """Return the bad rows, sorted.

        Args:
            source: the manifest, for the message.
            skip: return them instead of failing.

        Raises:
            DataError: there are bad rows and ``skip`` is off, or no row is left.
        """
        rows = tuple(BadRow(int(self.lines[row]), why) for row, why in sorted(self.reasons.items()))
        count = len(rows)
        if count and (not skip or self.bad.all()):
            raise DataError(
                f"{source} has {count:,} bad row{'s' if count > 1 else ''} of {len(self.bad):,}\n"
                + format_rows(rows, self.unit),
                remedy="\nCorrect them"
                + ("." if skip else ", or leave them out: --skip-bad-rows."),
            )
        return rows


def quoted(value: str, most: int = 80) -> str:
    """Return a cell's text in quotes; the middle of a long one is left out."""
    if len(value) <= most:
        return repr(value)
    return f"{value[: most // 2]!r}...{value[-most // 4 :]!r} ({len(value):,} characters)"


def format_rows(rows: Sequence[BadRow], unit: str, most: int = MAX_SHOWN_ROWS) -> str:
    """Format the first rows, one per line, and the number of the others."""
    text = [f"  {unit} {row.line}: {row.reason}" for row in rows[:most]]
    if len(rows) > most:
        text.append(f"  ... and {len(rows) - most:,} more")
    return "\n".join(text)


def write_bad_rows(file: Path, unit: str, rows: Sequence[BadRow]) -> None:
    """Write the line and the reason of each bad row to a CSV file; no file if there are none."""
    if not rows:
        file.unlink(missing_ok=True)  # written by an earlier call
        return
    with (
        atomic_write(file) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([unit, "reason"])
        writer.writerows([row.line, row.reason] for row in rows)
