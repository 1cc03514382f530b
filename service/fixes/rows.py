"""Read the rows of a file of fixes: CSV with any usual delimiter, a JSON array, or JSON lines."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from augrank.contracts.validation import first_fault
from augrank.errors import BadRequest
from service.bounded_json import parse_json
from service.database.tables import DIGEST, NAME
from service.errors import RequestTooLarge
from service.fixes.exchange import unescaped

BEFORE = "before"  # the column that makes a file a history
REQUIRED = ("advertiser", "label", "value")
MAX_URL, MAX_WHY = 2000, 2000  # characters
MAX_JSON = 16 * 2**20  # characters that are read at once: of an array, or of a line
DELIMITERS = ",;\t"
_PLAIN = r"^[^\x00-\x1f\x7f]+$"  # no control characters
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_Name = Annotated[str, Field(min_length=1, max_length=NAME, pattern=_PLAIN)]


class FixLine(BaseModel):
    """A row of a file; columns that are not listed are left out."""

    model_config = ConfigDict(extra="ignore")

    advertiser: _Name
    sha256: Annotated[str, Field(pattern=f"^[0-9a-f]{{{DIGEST}}}$")] | None = None
    image_url: Annotated[str, Field(max_length=MAX_URL, pattern=_PLAIN)] | None = None
    label: _Name
    value: _Name | None = None  # None: a history says that the fix was taken back
    before: _Name | None = None
    who: _Name | None = None
    why: Annotated[str, Field(max_length=MAX_WHY, pattern=r"^[^\x00]*$")] = ""


@dataclass(frozen=True)
class NumberedRow:
    """A row of a file, or why it cannot be read.

    Attributes:
        number: as a spreadsheet shows it, where the header is row 1; of JSON, from 1.
        line: the row; None if it cannot be read.
        problem: why not.
        replays: whether the file is a history: ``before`` says what the row has replaced.
    """

    number: int
    line: FixLine | None
    problem: str = ""
    replays: bool = False


def read_rows(data: bytes) -> Iterator[NumberedRow]:
    """Yield the rows of a file.

    Args:
        data: UTF-8 text: CSV with a header, a JSON array of objects, or a JSON object on each line.

    Raises:
        BadRequest: it is no such file, or has not the columns.
        RequestTooLarge: it is an array, which is read as a whole, and has too many parts.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(
            "the file cannot be read",
            expected="CSV or JSON in UTF-8",
            got=f"another encoding at byte {error.start:,}",
            remedy="Export it as CSV in UTF-8 (in Excel: Save As, CSV UTF-8).",
        ) from None
    start = re.search(r"\S", text)
    if start is None:
        raise BadRequest("the file is empty", expected="CSV or JSON with fixes", got="no row")
    if start[0] == "[":
        return _json_array(text)
    return _json_lines(text) if start[0] == "{" else _csv_rows(text)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text with their ends; few are in memory at a time."""
    return (found[0] for found in _LINE.finditer(text))


def _parsed(text: str) -> Any:
    if len(text) > MAX_JSON:
        raise RequestTooLarge("the JSON is too long", expected=f"at most {MAX_JSON:,} characters")
    return parse_json(text)


def _json_array(text: str) -> Iterator[NumberedRow]:
    try:
        records = _parsed(text)
    except RequestTooLarge as error:
        raise RequestTooLarge(
            error.problem,
            expected=error.expected,
            got="more",
            remedy="Send it as CSV or as JSON lines, which are read line by line, or as several "
            "files.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadRequest("the file is no JSON", got=str(error)) from None
    return (_checked(number, record) for number, record in enumerate(records, start=1))


def _json_lines(text: str) -> Iterator[NumberedRow]:
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        try:
            record = _parsed(line)
        except (ValueError, RecursionError, RequestTooLarge) as error:
            yield NumberedRow(number, None, f"no JSON: {error}")
            continue
        yield _checked(number, record)


def _csv_rows(text: str) -> Iterator[NumberedRow]:
    reader, names = _header(text)
    missing = [name for name in REQUIRED if name not in names]
    if not {"sha256", "image_url"} & set(names):
        missing.append("sha256 or image_url")
    if missing:
        raise BadRequest(
            f"the file has no column {', '.join(missing)}",
            expected="advertiser, sha256 or image_url, label, value, who, why",
            got=", ".join(names),
            remedy="Name the columns in the first row.",
        )
    return _csv_body(reader, names)


def _header(text: str) -> tuple[Iterator[list[str]], list[str]]:
    """Return a reader of the rows, and the names of their columns.

    The delimiter is the one with which the header has most of the columns that are known: other
    columns may have any delimiter in their names.

    Raises:
        BadRequest: the header is no CSV.
    """
    found: list[tuple[Iterator[list[str]], list[str]]] = []
    for delimiter in DELIMITERS:
        reader = csv.reader(_lines(text), delimiter=delimiter)
        try:
            found.append((reader, [name.strip() for name in next(reader)]))
        except csv.Error as error:
            problem = str(error)
    if not found:
        raise BadRequest("line 1 cannot be read", expected="CSV", got=problem)
    return max(found, key=lambda each: len(FixLine.model_fields.keys() & each[1]))


def _csv_body(reader: Iterator[list[str]], names: list[str]) -> Iterator[NumberedRow]:
    number = 1
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield NumberedRow(number, None, f"no CSV: {error}")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            yield NumberedRow(number, None, f"expected {len(names)} cells, got {len(cells)}")
            continue
        given = {name: unescaped(cell) for name, cell in zip(names, cells, strict=True)}
        yield _checked(number, given)


def _checked(number: int, record: Any) -> NumberedRow:
    """Return a row whose cells fit, or why they do not."""
    if not isinstance(record, Mapping):
        return NumberedRow(number, None, f"expected a JSON object, got {type(record).__name__}")
    given = {name: value for name, value in record.items() if value not in (None, "")}
    try:
        line = FixLine.model_validate(given)
    except ValidationError as error:
        fault = first_fault(error)
        got = "" if fault.kind == "missing" else f", got {repr(fault.value)[:80]}"
        expected = "a value" if fault.kind == "missing" else fault.expected
        return NumberedRow(number, None, f"{fault.name} does not fit: expected {expected}{got}")
    replays = BEFORE in record
    if line.sha256 is None and line.image_url is None:
        return NumberedRow(number, None, "sha256 does not fit: expected it, or an image_url")
    if line.value is None and not replays:
        return NumberedRow(number, None, "value does not fit: expected the right class, got none")
    return NumberedRow(number, line, replays=replays)
