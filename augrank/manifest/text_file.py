"""Read a text file of delimited cells, plain or compressed: CSV and its kin."""

import csv
import gzip
import io
import itertools
import re
import sys
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError, reason
from augrank.images.formats import format_of
from augrank.manifest.cells import clean_name
from augrank.manifest.text_column import TextColumn, TextColumnBuilder

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
CHUNK = 100  # rows, whose cells fit the cache of a processor
_PEEK = 4096  # bytes
_EXPORT = "Export it as CSV in UTF-8 (in Excel: Save As, CSV UTF-8)."
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_OTHER_KINDS = (  # first bytes, kind, remedy
    (b"\xff\xfe\0\0", "UTF-32", _EXPORT),
    (b"\0\0\xfe\xff", "UTF-32", _EXPORT),
    (b"\xff\xfe", "UTF-16", _EXPORT),
    (b"\xfe\xff", "UTF-16", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", _EXPORT),
    (b"ARROW1\0\0", "an Arrow file", "Write it as Parquet or CSV."),
    (b"FEA1", "a Feather file", "Write it as Parquet or CSV."),
)
_REMEDIES = {  # by the name of the format
    "Git LFS pointer": "Run git lfs pull: the file is a pointer to the manifest.",
    "JSON": "Write it as CSV, one row per shown image.",
    "HTML": "Download the file itself, not the page that shows it.",
}


@dataclass
class TextRows:
    """The cells of a text file, by column."""

    columns: dict[str, TextColumn]
    lines: NDArray[np.int64]  # on which each row starts, from 1, (N,)
    bad: dict[int, str]  # why rows could not be read, by number of the row
    notes: list[str] = field(default_factory=list)


def read_text(source: Path, is_known: Callable[[str], bool]) -> TextRows:
    """Read a file.

    Args:
        source: UTF-8 text, which may be in a gzip or zip file.
        is_known: whether a column's name is expected, to recognise the delimiter.

    Raises:
        DataError: it is not such a file, or two columns have one name.
    """
    try:
        try:
            with _opened(source) as stream:
                _check_kind(source, stream)
                text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
                return _rows(source, text, is_known)
        except UnicodeDecodeError:
            raise _not_utf8(source) from None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, csv.Error) as error:
        raise DataError(
            f"{source} cannot be read", expected="a whole text file", got=reason(error)
        ) from error


@contextmanager
def _opened(source: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading; a compressed one is recognised by its first bytes."""
    with source.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if start.startswith(_GZIP):
            with gzip.open(raw) as unpacked:
                yield io.BufferedReader(cast("io.RawIOBase", unpacked), _PEEK)
        elif start == _ZIP:
            with zipfile.ZipFile(raw) as archive, archive.open(_member(source, archive)) as member:
                yield io.BufferedReader(cast("io.RawIOBase", member), _PEEK)
        else:
            yield raw


def _member(source: Path, archive: zipfile.ZipFile) -> str:
    """Return the one file of a zip file.

    Raises:
        DataError: it has several, or is a workbook.
    """
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise DataError(f"{source} is a workbook (.xlsx, .ods)", remedy=_EXPORT)
    names = [name for name in names if not name.startswith("__MACOSX/")]
    if len(names) != 1:
        raise DataError(
            f"{source} does not hold one file",
            expected="a zip file with one CSV file",
            got=", ".join(names[:5]) or "no file",
        )
    return names[0]


def _check_kind(source: Path, stream: io.BufferedReader) -> None:
    """Refuse files of other kinds by their first bytes.

    Raises:
        DataError: names the kind, and says how to export.
    """
    start = stream.peek(_PEEK)[:_PEEK]
    found = next(((kind, remedy) for magic, kind, remedy in _OTHER_KINDS
                  if start.startswith(magic)), None)  # fmt: skip
    if found is None and (name := format_of(start)) is not None:
        found = name, _REMEDIES.get(name, _EXPORT)
    if found is not None:
        raise DataError(
            f"{source} is {found[0]}", expected="CSV in UTF-8, or Parquet", remedy=found[1]
        )
    zeros = start.count(0)
    if zeros > len(start) // 4:
        # UTF-16 without a mark: every other byte of its Latin letters is zero.
        sided = max(start[::2].count(0), start[1::2].count(0)) > 0.9 * zeros
        raise DataError(
            f"{source} is {'UTF-16' if sided else 'binary'}, not text in UTF-8",
            expected="CSV in UTF-8, or Parquet",
            remedy=_EXPORT,
        )


def _not_utf8(source: Path) -> DataError:
    """Return the error for a file in another encoding: its likely name and the first such line."""
    with _opened(source) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                wrong = line[error.start]
                try:
                    seen = line[max(0, error.start - 20) : error.start + 20].decode("cp1252")
                    likely = f"as Windows-1252 (or Latin-1) it reads {seen.strip()!r}"
                except UnicodeDecodeError:
                    likely = "it is not Windows-1252 either"
                return DataError(
                    f"{source} is not UTF-8",
                    expected="CSV in UTF-8",
                    got=f"byte 0x{wrong:02x} on line {number}; {likely}",
                    remedy=_EXPORT,
                )
    return DataError(f"{source} is not UTF-8", remedy=_EXPORT)  # changed since


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Let the csv module read long cells, which would end its work; rows with them are bad."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _rows(source: Path, text: IO[str], is_known: Callable[[str], bool]) -> TextRows:
    notes: list[str] = []
    skipped = 0  # lines before the header
    first = text.readline()
    while first and not first.strip():
        first, skipped = text.readline(), skipped + 1
    if not first:
        raise DataError(f"{source} is empty", expected="a header and rows")
    declared = re.fullmatch(r"sep=(.)\s*", first)  # Excel's own
    if declared:
        first, skipped = text.readline(), skipped + 1
    delimiter = declared[1] if declared else _delimiter(first, is_known)
    if delimiter != ",":
        notes.append(f"columns are separated by {DELIMITERS.get(delimiter, repr(delimiter))}")
    with _cells_of_any_length():
        # Strict: a quote inside a quoted cell would otherwise join cells, and rows, silently.
        reader = csv.reader(itertools.chain([first], text), delimiter=delimiter, strict=True)
        return _Columns(source, next(reader), notes, delimiter).read(reader, skipped)


def _delimiter(header: str, is_known: Callable[[str], bool]) -> str:
    """Return the delimiter that gives the most expected names, then the most names."""

    def names(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=delimiter), [])
        return sum(is_known(cell.strip()) for cell in cells), len(cells)

    return max(DELIMITERS, key=names)


_QUOTES = "quotes do not match, up to line {}: a closing quote may be missing"
_OPEN_QUOTE = "a cell spans lines that look like rows, up to line {}: a closing quote is missing"


def _row_end(line: int, row: Sequence[str]) -> int:
    """Return the last line of a row that starts on a line."""
    return line + sum(cell.count("\n") for cell in row)


class _Columns:
    """Collects rows by column."""

    def __init__(self, source: Path, header: list[str], notes: list[str], delimiter: str) -> None:
        if any("\0" in name for name in header):
            raise DataError(
                f"{source} is damaged", expected="names of columns", got="a NUL in its header"
            )
        self._names = [clean_name(name) for name in header]
        self._notes = notes
        twice = [name for name, n in Counter(self._names).items() if n > 1 and name]
        if twice:
            raise duplicate_columns(source, twice)
        self._width, self._delimiter = len(header), delimiter
        self._builders = [TextColumnBuilder() for _ in header]
        self._lines = array("q")
        self._bad: dict[int, str] = {}

    def read(self, reader: Any, skipped: int) -> TextRows:
        """Read the rows after the header.

        Args:
            reader: of the csv module, after the header.
            skipped: lines before the header.
        """
        while chunk := list(itertools.islice(self._numbered(reader, skipped), CHUNK)):
            first = len(self._lines)
            for number, (line, row, broken, end) in enumerate(chunk, first):
                self._lines.append(line)
                if broken:
                    self._bad[number] = broken
                    row[:] = [""] * self._width
                elif len(row) != self._width:
                    self._fit(number, row)
                elif end > line and self._holds_rows(row):
                    self._bad[number] = _OPEN_QUOTE.format(_row_end(line, row))
            columns = zip(*[row for _, row, _, _ in chunk], strict=True)
            for builder, cells in zip(self._builders, columns, strict=True):
                builder.extend(cells)
                if broken_cells := builder.codes.broken:
                    for number, cell in enumerate(cells, first):
                        if cell in broken_cells:
                            self._bad.setdefault(number, broken_cells[cell])
        lines = np.array(self._lines, np.int64)
        return TextRows(self._named(), lines, self._bad, self._notes)

    def _numbered(self, reader: Any, skipped: int) -> Iterator[tuple[int, list[str], str, int]]:
        """Yield of each row its first line, its cells, why it could not be read, its last line.

        Blank rows are left out.
        """
        while True:
            start = reader.line_num + skipped + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:
                end = reader.line_num + skipped
                yield start, [], _QUOTES.format(end), end
                continue
            if any(row):
                yield start, row, "", reader.line_num + skipped

    def _holds_rows(self, row: Sequence[str]) -> bool:
        """Return whether a cell spans lines that look like rows: its quote was closed later.

        Lines of prose rarely have as many delimiters as a row, one by one.
        """
        for cell in row:
            if "\n" in cell:
                lines = cell.splitlines()[1:]
                alike = sum(line.count(self._delimiter) == self._width - 1 for line in lines)
                if 2 * alike > len(lines) and (self._width > 2 or alike > 1):
                    return True
        return False

    def _fit(self, number: int, row: list[str]) -> None:
        """Give a row the header's width; it is bad unless what it has beyond is blank."""
        found = len(row)
        extra = row[self._width :]
        if found < self._width or any(cell.strip() for cell in extra):
            why = f"{found} cell{'s' if found > 1 else ''} where the header has {self._width}"
            if "\n" in row[-1]:
                why += ", and the last one spans lines: a closing quote may be missing"
            self._bad[number] = why
        row[:] = (row + [""] * self._width)[: self._width]

    def _named(self) -> dict[str, TextColumn]:
        """Return the columns by name; those without a name are numbered, or blank and left out."""
        columns = {}
        for number, (name, builder) in enumerate(zip(self._names, self._builders, strict=True), 1):
            if not name and builder.has_text:
                name = f"column {number}"
                self._notes.append(f"{name} has no name")
            if name:
                columns[name] = builder.build()
        return columns


def duplicate_columns(source: Path, names: Sequence[str]) -> DataError:
    """Return the error for columns that share a name."""
    listed = ", ".join(map(repr, names))
    return DataError(
        f"{source} has more than one column named {listed}",
        expected="different names",
        remedy="Rename or remove one of them.",
    )
