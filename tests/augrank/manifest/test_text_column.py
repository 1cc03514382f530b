"""Columns as codes of distinct texts: the same as lists of cells, in little memory."""

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augrank.manifest.read import read_rows
from augrank.manifest.text_column import (
    PART,
    TextColumn,
    TextColumnBuilder,
    combinations,
    kept_rows,
)

CELLS = st.lists(st.sampled_from(["", "a", "b", "B", "ä", "c d"]), max_size=20)


@given(CELLS, st.data())
def test_a_column_is_what_its_list_of_cells_is(cells, data):
    other = data.draw(st.lists(st.sampled_from(["", "a", "z"]), min_size=len(cells),
                               max_size=len(cells)))  # fmt: skip
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(cells), max_size=len(cells))),
                    bool)  # fmt: skip
    column, second = TextColumn.of(cells), TextColumn.of(other)
    assert list(column) == cells
    assert column.found == list(dict.fromkeys(cells))
    assert column.by_frequency == [text for text, _ in Counter(cells).most_common()]
    texts, number = column.numbered()
    assert list(texts) == sorted(set(cells))
    assert [texts[each] for each in number.tolist()] == cells
    assert column.blank.tolist() == [cell == "" for cell in cells]
    assert column.has(str.isupper).tolist() == [cell.isupper() for cell in cells]
    assert list(column.map(str.lower)) == [cell.lower() for cell in cells]
    assert list(column.select(mask)) == [
        cell for cell, kept in zip(cells, mask, strict=True) if kept
    ]
    assert column.equals(second).tolist() == [a == b for a, b in zip(cells, other, strict=True)]
    chosen = [a if own else b for a, b, own in zip(cells, other, mask, strict=True)]
    assert list(column.where(mask, second)) == chosen
    rows, row = combinations([column, second])
    assert rows == sorted(set(zip(cells, other, strict=True)))
    assert [rows[each] for each in row.tolist()] == list(zip(cells, other, strict=True))


@pytest.mark.parametrize("dtype", [object, str, "category"])
def test_a_series_of_any_kind_becomes_the_same_column(dtype):
    cells = ["b", "", "a", "b"]
    column = TextColumn.of(pd.Series(cells, dtype=dtype))
    assert list(column) == cells
    assert column.texts[0] == ""
    assert column.codes.dtype == np.int8
    frame = pd.DataFrame({"x": column.categorical})
    assert TextColumn.of(frame["x"]).texts == column.texts
    assert frame["x"].tolist() == cells
    kept = kept_rows(frame, np.array([True, False, False, True]))
    assert TextColumn.of(kept["x"]).found == ["b"]  # what does not occur any more is not found
    assert kept_rows(frame, np.ones(4, bool)) is frame


def test_codes_grow_with_the_number_of_texts():
    builder = TextColumnBuilder()
    cells = [f" {number % 40_000} " for number in range(2 * PART + 1)]
    for start in range(0, len(cells), 1000):
        builder.extend(cells[start : start + 1000])
        if start == 0:
            assert not builder.codes.broken
    column = builder.build()
    assert column.codes.dtype == np.int32
    assert list(column) == [cell.strip() for cell in cells]
    assert TextColumn.of([str(number) for number in range(1000)]).codes.dtype == np.int16


def test_a_column_of_distinct_cells_is_read(tmp_path):
    ids = [f"https://shop.example/{number}?q=\u00e4" for number in range(70_000)]
    frame = pd.DataFrame({"relative_im_path": "a.png", "url": ids})
    frame.to_csv(tmp_path / "m.csv", index=False)
    frame.to_parquet(tmp_path / "m.parquet", index=False, row_group_size=30_000)
    for name in ("m.csv", "m.parquet"):
        read = read_rows(tmp_path / name).frame
        assert read["url"].tolist() == ids
        assert TextColumn.of(read["url"]).codes.dtype == np.int32
        assert read["relative_im_path"].unique().tolist() == ["a.png"]


def test_dictionaries_of_parquet_are_read_in_every_row_group(tmp_path):
    names = [f"{number} \u00e4" for number in range(128)]  # as many as int8 numbers
    values = [names[-1], None, names[0], names[5]] * 50
    coded = pd.Categorical(values, categories=[*names, "of no row\0"])
    table = pa.table(
        {"x": pa.array(coded), "y": pa.array(values), "z": pa.array([1.0, None] * 100)}
    )
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=7)
    read = read_rows(tmp_path / "m.parquet")
    wanted = [value or "" for value in values]
    assert read.frame["x"].tolist() == read.frame["y"].tolist() == wanted
    assert read.frame["z"].tolist() == ["1", ""] * 100
    assert read.bad == {}


def test_parts_of_other_types_and_columns_are_one_table(tmp_path):
    first = pa.table({"p": ["a.png"], "n": pa.array([1], pa.int64())})
    second = pa.table({"n": pa.array([0.5, None]), "p": ["b.png", "c.png"], "k": ["x", "y"]})
    for number, part in enumerate((first, second)):
        pq.write_table(part, tmp_path / f"part-{number}.parquet")
    assert read_rows(tmp_path).frame.to_dict("list") == {
        "p": ["a.png", "b.png", "c.png"],
        "n": ["1", "0.5", ""],
        "k": ["", "x", "y"],
    }
