"""Read Parquet as text: a file, or a folder of parts."""

import datetime
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from augrank.errors import DataError, reason
from augrank.images.files import image_files
from augrank.manifest.cells import CleanText
from augrank.manifest.text_file import duplicate_columns

MAGIC = b"PAR1"
SUFFIXES = (".parquet", ".pq", ".parq")
MAX_WHOLE = 2.0**53  # beyond it, floats skip integers
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"  # a missing value, as the name of a folder
_UNNAMED_INDEX = "__index_level_"  # pandas' own name for an index that has none


@dataclass
class ParquetRows:
    """The cells of a Parquet file, by column."""

    columns: dict[str, list[str]]
    count: int
    bad: dict[int, str]  # why rows could not be read, by number of the row


def is_parquet(source: Path) -> bool:
    """Return whether a file is Parquet by content, or a folder has parts, and no images."""
    if source.is_dir():
        return bool(_parts(source)) and not image_files(source).files
    with source.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _parts(folder: Path) -> list[Path]:
    """Return the Parquet files below a folder, as Spark writes them."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(
            part.startswith((".", "_")) or part.endswith(".partial")  # unfinished work
            for part in file.relative_to(folder).parts
        )
    )


def _read_parts(folder: Path) -> pa.Table:
    """Read every part of a folder; its folders named ``column=value`` are columns, as in Hive."""
    tables = []
    for file in _parts(folder):
        table = pq.ParquetFile(file).read()
        for part in file.relative_to(folder).parts[:-1]:
            name, equals, value = part.partition("=")
            name, value = unquote(name), "" if value == _HIVE_NULL else unquote(value)
            if equals and name not in table.column_names:
                table = table.append_column(name, pa.array([value] * len(table), pa.string()))
        tables.append(table)
    return pa.concat_tables(tables, promote_options="permissive")


def read_parquet(source: Path) -> ParquetRows:
    """Read a file or a folder of parts; named indexes of pandas are columns.

    Raises:
        DataError: it cannot be read, or two columns have one name.
    """
    try:
        first = _parts(source)[0] if source.is_dir() else source
        names = [str(name).strip() for name in pq.read_schema(first).names]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise duplicate_columns(source, twice)
        table = _read_parts(source) if source.is_dir() else pq.ParquetFile(source).read()
        table_names = table.column_names
    except (OSError, ValueError, pa.ArrowException) as error:  # a name may not be UTF-8
        raise DataError(
            f"{source} cannot be read", expected="a Parquet file", got=reason(error)
        ) from error
    columns: dict[str, list[str]] = {}
    bad: dict[int, str] = {}
    for name, column in zip(table_names, table.columns, strict=True):
        if name.startswith(_UNNAMED_INDEX):
            continue
        try:
            cells, broken = _as_text(column)
        except (pa.ArrowException, ValueError, OverflowError):
            cells, broken = _one_by_one(column)
        columns[CleanText()[name]] = cells
        for row, why in broken.items():
            bad.setdefault(row, f"{name.strip()}: {why}")
    return ParquetRows(columns, table.num_rows, bad)


def _as_text(column: pa.ChunkedArray) -> tuple[list[str], dict[int, str]]:
    """Return the text of a column's values, and the reasons of those that have none, by row."""
    if pa.types.is_nested(column.type):
        why = f"a value of type {column.type} is neither text nor a number"
        filled = np.flatnonzero(column.is_valid().to_numpy())
        return [""] * len(column), dict.fromkeys(filled.tolist(), why)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.combine_chunks()
    single = pa.types.is_float32(encoded.type.value_type)
    values = encoded.dictionary.to_pylist()
    texts = [_text(value, single=single) for value in values]
    clean = CleanText()
    cells = [*(clean[text] for text in texts), ""]
    number = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    broken: dict[int, str] = {}
    for which, text in enumerate(texts):
        if text in clean.broken:
            rows = np.flatnonzero(number == which).tolist()
            broken |= dict.fromkeys(rows, clean.broken[text])
    return [cells[index] for index in number.tolist()], broken


def _one_by_one(column: pa.ChunkedArray) -> tuple[list[str], dict[int, str]]:
    """Return what ``_as_text`` does, of a column with values that Python cannot hold."""
    clean = CleanText()
    cells: list[str] = []
    broken: dict[int, str] = {}
    for row, scalar in enumerate(column):
        try:
            cells.append(clean[_text(scalar.as_py())])
        except (pa.ArrowException, ValueError, OverflowError):
            cells.append("")
            broken[row] = f"a value of type {column.type} cannot be read"
    return cells, broken


def _text(value: Any, *, single: bool = False) -> str:
    """Return the text of a value, as a CSV file would have it.

    Args:
        value: of a column that is not nested.
        single: whether a number has the precision of float32.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        # pandas makes floats of integers where some are missing: 1.0 means 1.
        whole = value.is_integer() and abs(value) < MAX_WHOLE
        return str(int(value)) if whole else str(np.float32(value) if single else value)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time() and value.tzinfo is None
        return value.date().isoformat() if midnight else value.isoformat(sep=" ")
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)
