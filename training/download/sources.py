"""The list of URLs to download, and the manifest written from it."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from augrank.contracts.manifest import ORIGINAL_FILE, PATH
from augrank.errors import DataError, one_of, reason
from augrank.files import atomic_write
from augrank.manifest.problems import Table
from augrank.manifest.read import read_rows
from augrank.manifest.text_column import TextColumn
from training.download.journal import UrlRecord

MANIFEST, BROKEN = "manifest.csv", "broken.csv"
_TEXT = (".txt", ".list", ".urls", "")  # suffixes of lists of URLs; others are tables


@dataclass(frozen=True)
class LeftOut:
    """A row whose image could not be downloaded."""

    line: int
    url: str
    reason: str
    tries: int
    state: str  # broken: permanent; failed: temporary


def read_urls(source: Path, column: str) -> Table:
    """Read a text file of URLs, or a CSV or Parquet file with a column of them.

    Args:
        source: the file. In a text file a line that starts with # is a comment.
        column: name of the URLs' column, also in the table read from a text file.

    Raises:
        DataError: it cannot be read, or contains no URL.
    """
    if not source.is_file():
        raise DataError(
            f"there is no file {source}",
            expected="URLs in a text file, one per line, or a CSV or Parquet file",
            remedy="Paths are relative to the working directory.",
        )
    tabular = source.suffix.lower() not in _TEXT
    table = _read_table(source, column) if tabular else _read_text(source, column)
    table = _cleaned(table, column)
    if TextColumn.of(table.frame[column]).blank.all():
        raise DataError(
            f"{source} contains no URL",
            expected="one per line" if not tabular else f"some in {column}",
        )
    return table


def _read_text(source: Path, column: str) -> Table:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"{source} cannot be read", expected="UTF-8 text", got=reason(error)
        ) from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    kept = [(number, line) for number, line in lines if line and not line.startswith("#")]
    frame = pd.DataFrame({column: TextColumn.of([line for _, line in kept]).categorical})
    return Table(source, frame, np.array([number for number, _ in kept], np.int64), "line")


def _read_table(source: Path, column: str) -> Table:
    table = read_rows(source, (column,))
    if column not in table.frame.columns:
        raise DataError(
            f"{source} has no column {column!r}",
            expected=one_of(table.frame.columns, column),
            remedy="Name it with --url-column.",
        )
    cells = TextColumn.of(table.frame[column])
    codes = cells.codes.copy()
    codes[list(table.bad)] = 0  # blank: never requested
    cells = TextColumn(codes, cells.texts)
    return replace(table, frame=table.frame.assign(**{column: cells.categorical}))


def _cleaned(table: Table, column: str) -> Table:
    """Take off what copying has put around URLs: quotes, brackets, and HTML's ``&amp;``."""
    urls = TextColumn.of(table.frame[column])
    clean = urls.map(lambda url: url.strip("\"'<> ").replace("&amp;", "&"))
    changed = int((~urls.equals(clean)).sum())
    if not changed:
        return table
    note = f"took quotes, brackets or &amp; off {changed:,} URLs"
    frame = table.frame.assign(**{column: clean.categorical})
    return replace(table, frame=frame, notes=(*table.notes, note))


def write_results(
    table: Table, column: str, records: Mapping[str, UrlRecord], folder: Path
) -> list[LeftOut]:
    """Write manifest.csv with the rows that have an image, and broken.csv with the others.

    The manifest keeps every column of the table. ``original`` is changed to the new file names: in
    the table it may name an image by its URL or by its ``relative_im_path``.

    Returns:
        The rows without an image. Without any image no manifest is written.
    """
    urls = list(TextColumn.of(table.frame[column]))
    left_out = [
        _left_out(int(line), url, records.get(url), table.bad.get(row, "the row has no URL"))
        for row, (line, url) in enumerate(zip(table.lines, urls, strict=True))
        if not _is_done(records.get(url))
    ]
    _write_left_out(left_out, table.unit, folder / BROKEN)
    kept = np.array([_is_done(records.get(url)) for url in urls])
    if kept.any():
        with atomic_write(folder / MANIFEST) as temporary:
            _manifest(table.frame[kept], column, records).to_csv(temporary, index=False)
    return left_out


def _manifest(rows: pd.DataFrame, column: str, records: Mapping[str, UrlRecord]) -> pd.DataFrame:
    files = [records[str(url)].file for url in rows[column]]
    frame = rows.drop(columns=PATH, errors="ignore")
    frame.insert(0, PATH, files)
    if ORIGINAL_FILE in frame.columns:
        named = dict(zip(rows[column], files, strict=True))
        if PATH in rows.columns:
            named |= dict(zip(rows[PATH], files, strict=True))
        named.pop("", None)  # blank means the row's own file, and stays blank
        frame[ORIGINAL_FILE] = [named.get(name, name) for name in frame[ORIGINAL_FILE]]
    return frame


def _is_done(record: UrlRecord | None) -> bool:
    return record is not None and record.state == "done"


def _left_out(line: int, url: str, record: UrlRecord | None, otherwise: str) -> LeftOut:
    if record is None:  # a blank cell is never requested
        return LeftOut(line, url, otherwise, 0, "broken")
    return LeftOut(line, url, record.reason, record.tries, record.state)


def _write_left_out(rows: list[LeftOut], unit: str, file: Path) -> None:
    if not rows:
        file.unlink(missing_ok=True)  # written by an earlier call
        return
    with (
        atomic_write(file) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([unit, "url", "reason", "tries", "state"])
        writer.writerows([row.line, row.url, row.reason, row.tries, row.state] for row in rows)
