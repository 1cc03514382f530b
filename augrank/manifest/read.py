"""Read a manifest: CSV, Parquet, Ground Truth or an image folder becomes a table of text."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from augrank.contracts.manifest import PATH, PRODUCT_TYPE
from augrank.errors import DataError, one_of
from augrank.images.files import IMAGE_SUFFIXES, image_files
from augrank.manifest.aliases import apply_aliases, is_known_name, near_misses
from augrank.manifest.cells import clean_name
from augrank.manifest.ground_truth import is_ground_truth, read_ground_truth
from augrank.manifest.parquet_file import is_parquet, read_parquet
from augrank.manifest.problems import Table
from augrank.manifest.text_column import TextColumn
from augrank.manifest.text_file import read_text

EXPECTED = "a CSV, Parquet or Ground Truth file, or a folder of images"


def read_table(source: Path, columns: Mapping[str, str]) -> Table:
    """Read a manifest, or list an image folder.

    Args:
        source: the file or folder. In a folder every image is an original, and the name of its
            first sub-folder is its product type.
        columns: our column names to the file's, for those that differ.

    Raises:
        DataError: the file cannot be read, is empty, or lacks a mapped column.
    """
    if source.is_dir() and not is_parquet(source):
        return _folder(source)
    columns = {clean_name(ours): clean_name(theirs) for ours, theirs in columns.items()}
    table = read_rows(source, columns.values())
    frame = _renamed(table.frame, columns, source)
    mapped = {theirs: ours for ours, theirs in columns.items()}
    before = list(frame.columns)
    frame, notes = apply_aliases(frame, columns)
    alias = dict(zip(before, frame.columns, strict=False))  # columns may be added at the end
    several = frozenset(alias[mapped.get(name, name)] for name in table.several)
    if PATH not in frame.columns:
        raise DataError(
            f"{source} has no column {PATH}",
            expected=f"the image's file in {PATH}",
            got=", ".join(frame.columns),
            remedy=f"Name the column with --column {PATH}=NAME.",
        )
    notes = (*table.notes, *notes, *near_misses(frame.columns))
    return Table(source, frame, table.lines, table.unit, notes, table.bad, several)


def read_rows(source: Path, expected: Iterable[str] = ()) -> Table:
    """Read a text, Parquet or Ground Truth file as it is, with its own column names.

    Args:
        source: the file, or a folder of Parquet parts.
        expected: further names of columns, which help to recognise the delimiter of a text file.

    Raises:
        DataError: the file cannot be read, or has no rows.
    """
    if not source.exists():
        raise DataError(
            f"there is no manifest {source}",
            expected=EXPECTED,
            remedy="Paths are relative to the working directory.",
        )
    try:
        parquet = is_parquet(source)
        ground_truth = not parquet and is_ground_truth(source)
    except OSError as error:
        raise DataError(f"{source} cannot be read", got=error.strerror or str(error)) from error
    notes: tuple[str, ...] = ()
    several: frozenset[str] = frozenset()
    if parquet:
        rows = read_parquet(source)
        lines, unit = np.arange(1, rows.count + 1), "row"
        columns, bad = rows.columns, rows.bad
    elif ground_truth:
        labels = read_ground_truth(source)
        lines, unit = labels.lines, "line"
        columns, several = labels.columns, labels.several
        bad, notes = labels.bad, labels.notes
    else:
        text = read_text(source, _expects(expected))
        lines, unit = text.lines, "line"
        columns, bad, notes = text.columns, text.bad, tuple(text.notes)
    if not len(lines):
        raise DataError(f"{source} has no rows", expected="one row per shown image")
    return Table(source, _frame(columns), lines, unit, notes, bad, several)


def _frame(columns: Mapping[str, TextColumn]) -> pd.DataFrame:
    return pd.DataFrame({name: cells.categorical for name, cells in columns.items()}, copy=False)


def _expects(names: Iterable[str]) -> Callable[[str], bool]:
    expected = set(names)
    return lambda name: name in expected or is_known_name(name)


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str], source: Path) -> pd.DataFrame:
    for ours, theirs in columns.items():
        if theirs not in frame.columns:
            raise DataError(
                f"{source} has no column {theirs!r}, which --column {ours}={theirs} names",
                expected=one_of(frame.columns, theirs),
            )
    kept = [name for name in frame.columns if name not in columns or name in columns.values()]
    return frame[kept].rename(columns={theirs: ours for ours, theirs in columns.items()})


def _folder(folder: Path) -> Table:
    found = image_files(folder)
    if not found.files:
        raise DataError(
            f"{folder} has no images",
            expected="files ending in " + ", ".join(IMAGE_SUFFIXES),
            got=found.note or "an empty folder",
        )
    columns = {PATH: TextColumn.of(found.files)}
    parts = [Path(file).parts for file in found.files]
    if any(len(each) > 1 for each in parts):
        first = [each[0] if len(each) > 1 else "" for each in parts]
        columns[PRODUCT_TYPE] = TextColumn.of(first)
    notes = (found.note,) if found.note else ()
    lines = np.arange(1, len(found.files) + 1)
    return Table(folder, _frame(columns), lines, "image", notes)
