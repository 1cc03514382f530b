"""Reading manifests: kinds of files, delimiters, encodings, bad rows, and any bytes at all."""

import csv
import gzip
import io
import unicodedata
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augrank.errors import AugrankError, DataError
from augrank.manifest.cells import MAX_CELL
from augrank.manifest.read import read_rows, read_table

MANIFEST = "relative_im_path,campaign\na.jpg,Newsletter\nb.jpg,\n"


def written(tmp_path, content: str | bytes, name: str = "m.csv"):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("delimiter", "named"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_the_delimiter_is_recognised_and_said(tmp_path, delimiter, named):
    table = read_table(written(tmp_path, MANIFEST.replace(",", delimiter)), {})
    assert table.frame.to_dict("list") == {
        "relative_im_path": ["a.jpg", "b.jpg"],
        "campaign": ["Newsletter", ""],
    }
    assert table.notes == (f"columns are separated by {named}",)


def test_a_mapped_name_helps_to_recognise_the_delimiter(tmp_path):
    file = written(tmp_path, "photo, large;price\na.jpg;1,5\n")
    table = read_table(file, {"relative_im_path": "photo, large"})
    assert table.frame["price"].tolist() == ["1,5"]


def test_excels_own_line_names_the_delimiter(tmp_path):
    table = read_table(written(tmp_path, "sep=;\nrelative_im_path;n\na.jpg;1\n"), {})
    assert table.frame["n"].tolist() == ["1"]
    assert table.lines.tolist() == [3]


def test_lines_are_those_of_the_file(tmp_path):
    text = '\nrelative_im_path,note\n\na.jpg,"two\nlines"\n,,\nb.jpg,x\n'
    assert read_table(written(tmp_path, text), {}).lines.tolist() == [4, 7]


def test_rows_of_another_width_are_bad_and_blank_cells_beyond_are_not(tmp_path):
    text = 'relative_im_path,n\na.jpg\nb.jpg,1,,\nc.jpg,1,2\nd.jpg,"open\ne.jpg,1\n'
    table = read_table(written(tmp_path, text), {})
    assert dict(table.bad) == {
        0: "1 cell where the header has 2",
        2: "3 cells where the header has 2",
        3: "quotes do not match, up to line 6: a closing quote may be missing",
    }
    assert table.frame["n"].tolist()[:2] == ["", "1"]
    text = 'relative_im_path,n\n"a.jpg,1\nb.jpg,2\n'
    table = read_table(written(tmp_path, text), {})
    assert "closing quote may be missing" in table.bad[0]


def test_cells_that_are_too_long_or_have_a_nul_are_bad_by_line(tmp_path):
    text = f"relative_im_path,n\na.jpg,{'x' * (MAX_CELL + 1)}\nb.jpg,a\0b\nc.jpg,{'x' * 9}\n"
    table = read_table(written(tmp_path, text), {})
    assert sorted(table.bad) == [0, 1]
    assert "131,073 characters" in table.bad[0]
    assert "NUL" in table.bad[1]
    assert csv.field_size_limit() == 131_072  # as it was


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty: expected a header and rows"),
        (b"\n \n", "is empty"),
        (b"relative_im_path\n", "has no rows"),
        (MANIFEST.encode("utf-16"), "is UTF-16"),
        (MANIFEST.encode("utf-16-le"), "is UTF-16"),
        (MANIFEST.encode("utf-32"), "is UTF-32"),
        (b'{"relative_im_path": "a.jpg"}', "is JSON"),
        (b"[1]", "is JSON"),
        (b"<!DOCTYPE html><html>", "is HTML"),
        (b"%PDF-1.7", "is PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*git lfs pull"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), r"Excel workbook \(\.xls\)"),
        (b"relative_im_path\n" + bytes(200), "is binary"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "is JPEG: expected CSV in UTF-8, or Parquet"),
        (b"\x89PNG\r\n\x1a\n", "is PNG"),
        (b"PAR1" + bytes(30), "cannot be read: expected a Parquet file"),
        (gzip.compress(MANIFEST.encode(), mtime=0)[:-9], "cannot be read"),
        (b"PK\x03\x04" + bytes(30), "cannot be read"),
        ("relative_im_path\nm\u00f6bel.jpg\n".encode("latin-1"), "byte 0xf6 on line 2.*möbel"),
        (b"relative_im_path\n\x81\n", "byte 0x81 on line 2; it is not Windows-1252 either"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path, content, why):
    for name in ("m.csv", "m.tsv", "m"):
        with pytest.raises(DataError, match=why):
            read_table(written(tmp_path, content, name), {})


def test_a_header_is_not_taken_for_another_format(tmp_path):
    for name in ("BMI", "ORC", "P1 x"):
        table = read_table(written(tmp_path, f"{name},relative_im_path\n1,a.jpg\n"), {})
        assert list(table.frame.columns) == [name, "relative_im_path"]


def test_what_a_zip_file_holds_decides(tmp_path):
    def packed(*names: str):
        with zipfile.ZipFile(tmp_path / "m.csv.zip", "w") as archive:
            for name in names:
                archive.writestr(name, MANIFEST)
        return tmp_path / "m.csv.zip"

    assert len(read_table(packed("m.csv", "__MACOSX/._m.csv"), {}).frame) == 2
    with pytest.raises(DataError, match=r"one CSV file, got a\.csv, b\.csv"):
        read_table(packed("a.csv", "b.csv"), {})
    with pytest.raises(DataError, match="is a workbook"):
        read_table(packed("[Content_Types].xml", "xl/workbook.xml"), {})


def test_columns_without_a_name_are_numbered_or_left_out(tmp_path):
    table = read_table(written(tmp_path, "relative_im_path,,\na.jpg,,x\nb.jpg,,\n"), {})
    assert list(table.frame.columns) == ["relative_im_path", "column 3"]
    assert table.notes == ("column 3 has no name",)


def test_a_column_that_nearly_matches_is_said(tmp_path):
    text = "Relative-Im-Path,Product Type,open_rates,refunds_trials,brightness\na.jpg,x,1,3,2\n"
    table = read_table(written(tmp_path, text), {})
    assert list(table.frame.columns)[:2] == ["relative_im_path", "product_type"]
    assert table.notes == (
        "column 'Relative-Im-Path' is read as relative_im_path",
        "column 'Product Type' is read as product_type",
        "refunds_trials has no refunds_successes, so it is not a target",
        "column 'open_rates' is not open_rate: if it means that, rename it",
    )


def test_text_of_parquet_is_that_of_csv(tmp_path):
    frame = pd.DataFrame(
        {
            "relative_im_path": ["a.jpg", " b.jpg "],
            "count": [1.0, np.nan],
            "price": np.array([5.09, 1e20], np.float32),
            "exact": [0.1, 2.0**60],
            "member": pd.array([True, None], "boolean"),
            "sent": pd.to_datetime(["2026-01-01", "2026-01-01 08:30"], format="ISO8601"),
            "kind": pd.Categorical(["x", None]),
            "id": np.array([12345678901234567890, 1], np.uint64),
        }
    )
    file = tmp_path / "m.PARQ"
    frame.to_parquet(file, index=False)
    assert read_table(file, {}).frame.to_dict("list") == {
        "relative_im_path": ["a.jpg", "b.jpg"],
        "count": ["1", ""],
        "price": ["5.09", "1e+20"],
        "exact": ["0.1", "1.152921504606847e+18"],
        "member": ["true", ""],
        "sent": ["2026-01-01", "2026-01-01 08:30:00"],
        "kind": ["x", ""],
        "id": ["12345678901234567890", "1"],
    }


def test_nested_cells_of_parquet_are_bad_rows_and_an_unnamed_index_is_no_column(tmp_path):
    frame = pd.DataFrame({"relative_im_path": ["a.jpg", "b.jpg"], "tags": [["x"], None]})
    frame.index = [4, 5]
    frame.to_parquet(tmp_path / "m.parquet")
    table = read_table(tmp_path / "m.parquet", {})
    assert list(table.frame.columns) == ["relative_im_path", "tags"]
    assert list(table.bad) == [0]
    assert table.bad[0].startswith("tags: a value of type list<")


def test_a_folder_of_parts_is_one_manifest(tmp_path):
    folder = tmp_path / "history"
    (folder / "day=2").mkdir(parents=True)
    for number, day in enumerate(("day=2", "day=2")):
        part = pa.table({"relative_im_path": [f"{number}.jpg"]})
        pq.write_table(part, folder / day / f"part-{number}.snappy.parquet")
    (folder / "_SUCCESS").touch()
    table = read_table(folder, {})
    assert table.frame.to_dict("list") == {
        "relative_im_path": ["0.jpg", "1.jpg"],
        "day": ["2", "2"],
    }


def test_parts_may_have_further_columns_and_other_files_beside(tmp_path):
    folder = tmp_path / "history"
    folder.mkdir()
    pq.write_table(pa.table({"relative_im_path": ["0.jpg"]}), folder / "0.parquet")
    more = pa.table({"relative_im_path": ["1.jpg"], "open_rate": [1]})
    pq.write_table(more, folder / "1.parquet")
    (folder / "README.md").write_text("about")
    assert read_table(folder, {}).frame.to_dict("list") == {
        "relative_im_path": ["0.jpg", "1.jpg"],
        "open_rate": ["", "1"],
    }
    other = pa.table({"relative_im_path": ["2.jpg"], "open_rate": [[1]]})
    pq.write_table(other, folder / "2.parquet")
    with pytest.raises(DataError, match="cannot be read: expected a Parquet file"):
        read_table(folder, {})


def test_a_folder_of_images_may_hold_answers_beside_them(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    pq.write_table(pa.table({"probability": [0.5]}), tmp_path / "answers.parquet")
    table = read_table(tmp_path, {})
    assert (table.unit, table.frame["relative_im_path"].tolist()) == ("image", ["a.png"])
    (tmp_path / "a.png").rename(tmp_path / "a.txt")
    (tmp_path / "answers.parquet").rename(tmp_path / "answers.partial")
    with pytest.raises(DataError, match=r"has no images.*passed over"):
        read_table(tmp_path, {})


def test_values_that_python_cannot_hold_are_bad_rows(tmp_path):
    paths = pa.array(["a.jpg", "b.jpg"])
    text = pa.array([b"fine", b"\xff\xfe"]).view(pa.binary()).cast(pa.string(), safe=False)
    far = pa.array([0, 2**30], pa.int32()).cast(pa.date32())
    halves = pa.array(np.array([0.5, np.nan], np.float16))
    for column, bad in ((text, [1]), (far, [1]), (halves, [])):
        pq.write_table(pa.table({"relative_im_path": paths, "x": column}), tmp_path / "m.parquet")
        table = read_table(tmp_path / "m.parquet", {})
        assert list(table.bad) == bad
        assert table.frame["x"].tolist()[1] == ""
        assert table.frame["x"].tolist()[0] in ("fine", "1970-01-01", "0.5")


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, suppress_health_check=SUPPRESSED)
@given(
    st.lists(NAMES.map(lambda n: "c " + unicodedata.normalize("NFC", n.strip())).map(str.strip),
             min_size=1, max_size=4, unique=True),
    st.lists(st.lists(CELLS, min_size=4, max_size=4), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t"]),
)  # fmt: skip
def test_what_is_written_is_read(tmp_path, names, rows, delimiter):
    header = ["relative_im_path", *names]
    cells = [[f"{n}.jpg", *row[: len(names)]] for n, row in enumerate(rows)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([header, *cells])
    wanted = {
        name: [unicodedata.normalize("NFC", row[n].strip()) for row in cells]
        for n, name in enumerate(header)
    }
    from_text = read_rows(written(tmp_path, text.getvalue()))
    assert from_text.frame.to_dict("list") == wanted
    assert not from_text.bad
    columns = {name: [row[n] for row in cells] for n, name in enumerate(header)}
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    assert read_rows(tmp_path / "m.parquet").frame.to_dict("list") == wanted


@settings(max_examples=300, suppress_health_check=SUPPRESSED)
@given(
    st.binary(max_size=300),
    st.sampled_from(
        [b"", b"relative_im_path,a\n", b"PAR1", b"\x1f\x8b", b"PK\x03\x04", b"\xff\xfe"]
    ),
)
def test_any_bytes_are_a_table_or_a_message(tmp_path, content, start):
    message, rows = "", 0
    try:
        rows = len(read_rows(written(tmp_path, start + content)).frame)
    except AugrankError as error:
        message = str(error)
    assert rows or len(message) > 20


@pytest.mark.parametrize(
    ("text", "why", "first", "last"),
    [
        ('p,t,c\na,1,"red\n' + 9 * "b,0,blue\n", "quotes do not match, up to line 11", 2, 11),
        ('p,t,c\na,1,"red\nb,0,blue\nc,1,5"\nd,1,x\n', "look like rows, up to line 4", 2, 4),
        ('p,t,c\na,1,"5" wide\nb,0,x\n', "quotes do not match, up to line 2", 2, 2),
    ],
)
def test_an_open_quote_loses_no_row_silently(tmp_path, text, why, first, last):
    file = tmp_path / "m.csv"
    file.write_text(text)
    table = read_rows(file)
    assert why in table.bad[0]
    assert table.lines[0] == first
    assert list(table.lines[1:]) == list(range(last + 1, text.count("\n") + 1))


@pytest.mark.parametrize("cell", ["two\nlines", "a list:\n- one, two\n- three", "x\n\ny"])
def test_a_cell_may_span_lines(tmp_path, cell):
    file = tmp_path / "m.csv"
    file.write_text(f'p,t,c\na,1,"{cell}"\nb,0,x\n')
    table = read_rows(file)
    assert table.bad == {}
    assert table.frame["c"].tolist() == [cell, "x"]


def test_a_header_with_nul_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"p,\0t\na,1\n")
    with pytest.raises(DataError, match="is damaged: expected names of columns, got a NUL"):
        read_rows(tmp_path / "m.csv")


def test_folders_of_partitions_give_their_values(tmp_path):
    frame = pd.DataFrame(
        {"relative_im_path": ["a.png", "b.png", "c.png"],
         "campaign_type": ["Product Announcement", "A/B \u2013 test", None]}
    )  # fmt: skip
    frame.to_parquet(tmp_path / "history", partition_cols=["campaign_type"])
    table = read_table(tmp_path / "history", {})
    found = dict(zip(table.frame["relative_im_path"], table.frame["campaign_type"], strict=True))
    assert found == {"a.png": "Product Announcement", "b.png": "A/B \u2013 test", "c.png": ""}


def test_names_that_are_given_match_in_either_form(tmp_path):
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    (tmp_path / "m.csv").write_text(f"{nfc},open_rate\na.png,1\n", encoding="utf-8")
    table = read_table(tmp_path / "m.csv", {"relative_im_path": f" {nfd}"})
    assert table.frame["relative_im_path"].tolist() == ["a.png"]


def test_a_cell_that_is_a_nul_alone_is_a_bad_row(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"p,t,c\n\0,1,x\na.png,0,y\n")
    table = read_rows(tmp_path / "m.csv")
    assert table.bad == {0: "a cell has a NUL character: the row is damaged"}
    assert table.frame["c"].tolist() == ["x", "y"]
