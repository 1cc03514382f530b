"""Reports in a CSV file: one row for each, bad rows listed by line."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from augrank.contracts.validation import first_fault
from augrank.errors import BadRequest, RequestError
from service.database.session import Database
from service.outcomes.reports import Kept, Report, keep_reports

COLUMNS = ("assignment", "target", "successes", "trials", "report", "replaces")
NEEDED = ("assignment", "successes", "trials")
ROWS_AT_ONCE = 5_000  # in one transaction
MAX_LISTED = 1_000  # refused rows
MAX_CELL, MAX_DIGITS = 1_000, 20  # characters


@dataclass
class Imported:
    """What came of a file's rows."""

    added: int = 0
    known: int = 0
    refused: int = 0
    errors: list[tuple[int, RequestError]] = field(default_factory=list)  # line; the first ones

    def refuse(self, line: int, error: RequestError) -> None:
        """Note that a row was refused."""
        self.refused += 1
        if len(self.errors) < MAX_LISTED:
            self.errors.append((line, error))


def import_reports(database: Database, advertiser: str, data: bytes, who: str) -> Imported:
    """Keep the reports of a file; what was kept stays, whatever comes of later rows.

    Args:
        database: to keep them in.
        advertiser: whose assignments they are about.
        data: CSV in UTF-8 with a header.
        who: reports.

    Raises:
        BadRequest: it is no such file.
    """
    done = Imported()
    chunk: list[tuple[int, Report]] = []
    for line, report in _rows(data):
        if isinstance(report, RequestError):
            done.refuse(line, report)
            continue
        chunk.append((line, report))
        if len(chunk) == ROWS_AT_ONCE:
            _keep(database, advertiser, chunk, who, done)
            chunk = []
    if chunk:
        _keep(database, advertiser, chunk, who, done)
    done.errors.sort(key=lambda each: each[0])
    return done


def _keep(
    database: Database, advertiser: str, chunk: list[tuple[int, Report]], who: str, done: Imported
) -> None:
    with database.writes() as session:
        results = keep_reports(session, advertiser, [report for _, report in chunk], who)
    for (line, _), result in zip(chunk, results, strict=True):
        if not isinstance(result, Kept):
            done.refuse(line, result)
        elif result.added:
            done.added += 1
        else:
            done.known += 1


def _rows(data: bytes) -> Iterator[tuple[int, Report | RequestError]]:
    """Yield reports with the line that each ends on.

    Raises:
        BadRequest: it is no CSV in UTF-8, or lacks a column.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(
            "the file is not UTF-8", expected="CSV in UTF-8", got=f"a byte {data[error.start]:#x}"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in _next(reader) or []]
    _check_header(header)
    while (cells := _next(reader)) is not None:
        if any(cells):
            yield reader.line_num, _report(header, cells)


def _next(reader: Any) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise BadRequest(
            f"line {reader.line_num} cannot be read", expected="CSV", got=str(error)
        ) from error


def _check_header(header: list[str]) -> None:
    missing = [name for name in NEEDED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        raise BadRequest(
            "the file's columns do not fit",
            expected=f"{', '.join(NEEDED)}, and if need be target, report, replaces",
            got=", ".join(header) or "nothing",
        )


def _report(header: list[str], cells: list[str]) -> Report | RequestError:
    if len(cells) != len(header):
        return BadRequest(
            "the row does not fit", expected=f"{len(header)} cells", got=str(len(cells))
        )
    given = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
    counts = {name: _count(given[name]) for name in ("successes", "trials") if name in given}
    try:
        return Report.model_validate(given | counts)
    except ValidationError as error:
        fault = first_fault(error)
        return BadRequest(
            f"{fault.name or 'the row'} does not fit",
            expected=fault.expected,
            got="nothing" if fault.kind == "missing" else str(fault.value)[:MAX_CELL],
        )


def _count(cell: str) -> int | str:
    """Return a whole number; any other text as it is, for the message."""
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) < MAX_DIGITS else cell
