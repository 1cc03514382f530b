"""Read Parquet as text: a file, or a folder of parts."""

import datetime
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from augrank.errors import DataError, reason
from augrank.images.files import image_files
from augrank.manifest.cells import clean_name
from augrank.manifest.text_column import TextColumn, TextColumnBuilder
from augrank.manifest.text_file import duplicate_columns

MAGIC = b"PAR1"
SUFFIXES = (".parquet", ".pq", ".parq")
BATCH = 2**16  # rows
MAX_WHOLE = 2.0**53  # beyond it, floats skip integers
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"  # a missing value, as the name of a folder
_UNNAMED_INDEX = "__index_level_"  # pandas' own name for an index that has none


@dataclass
class ParquetRows:
    """The cells of a Parquet file, by column."""

    columns: dict[str, TextColumn]
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


@dataclass(frozen=True)
class _Part:
    """A Parquet file, and the columns that the names of its folders give it."""

    file: Path
    schema: pa.Schema
    count: int  # of rows
    folders: Mapping[str, str]

    @classmethod
    def open(cls, file: Path, source: Path) -> "_Part":
        """Read the schema of a file; folders named ``column=value`` are columns, as in Hive."""
        with pq.ParquetFile(file) as stream:
            schema, count = stream.schema_arrow, stream.metadata.num_rows
        folders: dict[str, str] = {}
        for folder in file.relative_to(source).parts[:-1]:
            name, equals, value = folder.partition("=")
            name = unquote(name)
            if equals and name not in schema.names:
                folders[name] = "" if value == _HIVE_NULL else unquote(value)
                schema = schema.append(pa.field(name, pa.string()))
        return cls(file, schema, count, folders)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the file; text stays encoded by its dictionary."""
        text = [
            field.name
            for field in self.schema
            if pa.types.is_string(field.type) and field.name not in self.folders
        ]
        with pq.ParquetFile(self.file, read_dictionary=text) as stream:
            yield from stream.iter_batches(BATCH)

    def column(self, batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
        """Return a column of a batch, as the values of a field; null where the file has none."""
        if field.name in self.folders:
            return pa.repeat(self.folders[field.name], len(batch))
        if field.name not in batch.schema.names:
            return pa.nulls(len(batch), field.type)
        column = batch.column(field.name)
        if _value_type(column.type) == _value_type(field.type):
            return column
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        return column.cast(_value_type(field.type))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def read_parquet(source: Path) -> ParquetRows:
    """Read a file or a folder of parts; named indexes of pandas are columns.

    Raises:
        DataError: it cannot be read, or two columns have one name.
    """
    try:
        files = _parts(source) if source.is_dir() else [source]
        names = [str(name).strip() for name in pq.read_schema(files[0]).names]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise duplicate_columns(source, twice)
        parts = [_Part.open(file, source) for file in files]
        schema = pa.unify_schemas([part.schema for part in parts], promote_options="permissive")
        columns = [_Column(f) for f in schema if not f.name.startswith(_UNNAMED_INDEX)]
        for part in parts:
            for batch in part.batches():
                for column in columns:
                    column.extend(part.column(batch, column.field))
    except (OSError, ValueError, pa.ArrowException) as error:  # a name may not be UTF-8
        raise DataError(
            f"{source} cannot be read", expected="a Parquet file", got=reason(error)
        ) from error
    bad: dict[int, str] = {}
    for column in columns:
        for row, why in column.broken.items():
            bad.setdefault(row, f"{column.field.name.strip()}: {why}")
    cells = {clean_name(column.field.name): column.builder.build() for column in columns}
    return ParquetRows(cells, sum(part.count for part in parts), bad)


class _Column:
    """Collects the text of a column's values, and the reasons of those that have none, by row."""

    def __init__(self, field: pa.Field) -> None:
        self.field, self.builder = field, TextColumnBuilder()
        self.broken: dict[int, str] = {}
        self._count = 0

    def extend(self, values: pa.Array) -> None:
        """Append the values of a part."""
        try:
            self._extend_encoded(values)
        except (pa.ArrowException, ValueError, OverflowError):
            self._extend_one_by_one(values)
        self._count += len(values)

    def _extend_encoded(self, values: pa.Array) -> None:
        if pa.types.is_nested(values.type):
            why = f"a value of type {values.type} is neither text nor a number"
            self._break(values.is_valid(), why)
            self.builder.extend_codes(np.zeros(len(values), np.int8))
            return
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        single = pa.types.is_float32(values.type.value_type)
        texts = [_text(value, single=single) for value in values.dictionary.to_pylist()]
        codes = self.builder.codes
        code = np.array([*(codes[text] for text in texts), 0])
        number = values.indices.cast(pa.int64()).fill_null(len(texts)).to_numpy()
        self.builder.extend_codes(code[number])
        for which, text in enumerate(texts if codes.broken else ()):
            if text in codes.broken:
                self._break(number == which, codes.broken[text])

    def _extend_one_by_one(self, values: pa.Array) -> None:
        """Do what ``_extend_encoded`` does, of values some of which Python cannot hold."""
        codes = self.builder.codes
        found = np.zeros(len(values), np.int64)
        for row, scalar in enumerate(values):
            try:
                text = _text(scalar.as_py())
                found[row] = codes[text]
                if text in codes.broken:
                    self.broken[self._count + row] = codes.broken[text]
            except (pa.ArrowException, ValueError, OverflowError):
                self.broken[self._count + row] = f"a value of type {self.field.type} cannot be read"
        self.builder.extend_codes(found)

    def _break(self, rows: "NDArray[np.bool_] | pa.BooleanArray", why: str) -> None:
        mask = rows if isinstance(rows, np.ndarray) else rows.to_numpy(zero_copy_only=False)
        self.broken |= dict.fromkeys((self._count + np.flatnonzero(mask)).tolist(), why)


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
