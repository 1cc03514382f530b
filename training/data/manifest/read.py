"""Read a manifest file into a table of text, with line numbers, and collect its bad rows."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import IMAGE_SUFFIXES, PATH, PRODUCT_TYPE
from augrank.errors import DataError, one_of
from augrank.files import atomic_write
from training.data.manifest.aliases import apply_aliases

MAX_SHOWN_ROWS = 10


@dataclass(frozen=True)
class Table:
    """Rows of stripped text; blank, null and NaN cells of the file are ``""``."""

    source: Path
    frame: pd.DataFrame
    lines: NDArray[np.int64]  # line numbers in a CSV, row numbers in a Parquet file, from 1
    unit: str  # what ``lines`` counts: line, row or image
    notes: tuple[str, ...] = ()  # changes made while reading, for the user


@dataclass(frozen=True, order=True)
class BadRow:
    """A row that is left out."""

    line: int  # see ``Table.lines``
    reason: str


@dataclass
class Problems:
    """Collects the bad rows; the first problem found in a row is its reason."""

    unit: str
    lines: NDArray[np.int64]
    bad: NDArray[np.bool_] = field(init=False)
    texts: dict[int, str] = field(init=False, default_factory=dict)  # reason, by row

    def __post_init__(self) -> None:
        self.bad = np.zeros(len(self.lines), bool)

    def add(self, mask: NDArray[np.bool_], why: str, values: list[str] | None = None) -> None:
        """Mark rows as bad; ``{}`` in ``why`` is replaced by the row's value."""
        for row in np.flatnonzero(mask & ~self.bad).tolist():
            self.texts[row] = why.format(repr(values[row])) if values is not None else why
        self.bad |= mask

    def settle(self, source: Path, *, skip: bool) -> tuple[BadRow, ...]:
        """Return the bad rows, sorted.

        Args:
            source: the manifest, for the message.
            skip: return them instead of failing.

        Raises:
            DataError: there are bad rows and ``skip`` is off, or no row is left.
        """
        rows = tuple(BadRow(int(self.lines[row]), why) for row, why in sorted(self.texts.items()))
        count = len(rows)
        if count and (not skip or self.bad.all()):
            raise DataError(
                f"{source} has {count:,} bad row{'s' if count > 1 else ''} of {len(self.bad):,}\n"
                + format_rows(rows, self.unit),
                remedy="\nCorrect them"
                + ("." if skip else ", or leave them out: --skip-bad-rows."),
            )
        return rows


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


def read_table(source: Path, columns: Mapping[str, str], *, aliases: bool = True) -> Table:
    """Read a CSV or Parquet file, or list an image folder.

    Args:
        source: the file or folder. In a folder every image is an original, and the name of its
            first sub-folder is its product type.
        columns: our column names to the file's, for those that differ.
        aliases: rename the columns of the source documents as well (``apply_aliases``).

    Raises:
        DataError: the file cannot be read, is empty, or lacks a mapped column.
    """
    if source.is_dir():
        return _folder(source)
    if not source.is_file():
        raise DataError(
            f"there is no manifest {source}",
            expected="a CSV or Parquet file, or a folder of images",
            remedy="Check --manifest; paths are relative to the working directory.",
        )
    parquet = source.suffix.lower() in (".parquet", ".pq")
    frame = _read_parquet(source) if parquet else _read_csv(source)
    frame = _renamed(frame, columns, source)
    frame, notes = apply_aliases(frame, columns) if aliases else (frame, ())
    if frame.empty:
        raise DataError(f"{source} has no rows", expected="one row per shown image")
    if PATH not in frame.columns:
        raise DataError(
            f"{source} has no column {PATH}",
            expected=f"the image's file in {PATH}",
            got=", ".join(frame.columns),
            remedy=f"Name the column with --column {PATH}=NAME.",
        )
    lines = np.arange(1, len(frame) + 1) if parquet else _csv_lines(source, len(frame))
    return Table(source, frame, lines, "row" if parquet else "line", notes)


def _read_csv(source: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # pandas drops the extra cells of long rows, with a warning
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                source, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
            )
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{source} is empty", expected="a header and rows") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError, OSError) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataError(
            f"{source} is not a readable CSV file: {reason}", expected="UTF-8, commas"
        ) from error
    return frame.fillna("").apply(lambda column: column.str.strip())


def _read_parquet(source: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(source)
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these
        raise DataError(f"{source} is not a readable Parquet file: {error}") from error
    return frame.apply(_as_text)


def _as_text(column: pd.Series) -> pd.Series:
    if column.dtype == bool:
        column = column.astype(int)
    missing = column.isna()
    text = column.astype(str).str.strip()
    text[missing] = ""
    # pandas reads an integer column with nulls as float: 1.0 means 1
    return text.str.replace(r"^(-?\d+)\.0$", r"\1", regex=True)


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str], source: Path) -> pd.DataFrame:
    for ours, theirs in columns.items():
        if theirs not in frame.columns:
            raise DataError(
                f"{source} has no column {theirs!r}, which --column {ours}={theirs} names",
                expected=one_of(frame.columns, theirs),
            )
    kept = [name for name in frame.columns if name not in columns or name in columns.values()]
    return frame[kept].rename(columns={theirs: ours for ours, theirs in columns.items()})


def _csv_lines(source: Path, rows: int) -> NDArray[np.int64]:
    """Return the line on which each row starts; blank lines and line breaks in cells count."""
    with source.open("rb") as stream:
        breaks = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    if breaks in (rows, rows + 1):
        return np.arange(2, rows + 2)
    lines, start = [], 1
    with source.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        for row in reader:
            if row:
                lines.append(start)
            start = reader.line_num + 1
    return np.array(lines[1 : rows + 1], np.int64)


def _folder(folder: Path) -> Table:
    files = sorted(
        file.relative_to(folder)
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES
        and file.is_file()
        and not file.name.startswith(".")  # unfinished, or metadata of macOS
    )
    if not files:
        raise DataError(
            f"{folder} has no images", expected="files ending in " + ", ".join(IMAGE_SUFFIXES)
        )
    frame = pd.DataFrame({PATH: [file.as_posix() for file in files]}, dtype=str)
    if any(len(file.parts) > 1 for file in files):
        frame[PRODUCT_TYPE] = [file.parts[0] if len(file.parts) > 1 else "" for file in files]
    return Table(folder, frame, np.arange(1, len(files) + 1), "image")
