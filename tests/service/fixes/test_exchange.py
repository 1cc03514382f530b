"""Fixes go out as files and come in again: nothing is lost, doubled, or overruled."""

import csv
import io
import json
import re

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from augrank.manifest.ground_truth import read_ground_truth
from service import client
from service.api.fixes.exchange import ImportAnswer
from service.api.jobs import JobRow
from service.app import create_app
from service.bounded_json import MAX_PARTS
from service.client import ServiceClient, ServiceError
from service.commands.app import app as commands
from service.database.session import Database
from service.errors import RequestTooLarge
from service.fixes.exchange import escaped, unescaped
from service.fixes.rows import MAX_JSON, read_rows
from service.settings import ServiceSettings
from tests.service.support.pages import Caller, photo, sha256

IMAGES = [photo(n) for n in range(100, 103)]
FIRST, SECOND, THIRD = (sha256(image) for image in IMAGES)
ODD = '=HYPERLINK("http://x"), "quoted"\nand a line, ünïcode'


def export(caller: Caller, **query) -> str:
    answer = caller.http.get("/v1/fixes/export", params=query)
    assert answer.status_code == 200, answer.text
    return answer.text


def take(caller: Caller, text: str, **fields) -> dict:
    answer = caller.http.post(
        "/v1/fixes/import", files={"file": ("fixes.csv", text.encode())}, data=fields
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def counts(report: dict) -> tuple[int, ...]:
    return tuple(report[name] for name in ("taken", "unchanged", "conflicts", "bad"))


@pytest.fixture
def other(database: Database, backend, tmp_path):
    """Another service, that has seen the same images and has no fixes."""
    opened = Database(f"sqlite:///{tmp_path / 'other' / 'service.db'}")
    opened.migrate()
    with TestClient(
        create_app(ServiceSettings(folder=tmp_path / "other"), opened, backend)
    ) as http:
        made = Caller(http)
        made.classify(*IMAGES)
        yield made
    opened.close()


@pytest.fixture
def fixed(caller: Caller) -> Caller:
    """A service with a history: two pictures corrected, one of them and a third taken back."""
    caller.classify(*IMAGES)
    caller.fix(IMAGES[0], "colour", "red", why=ODD)
    second = caller.fix(IMAGES[0], "colour", "green", before="red", who="ben").json()
    caller.undo(second["id"], who="eva")
    caller.fix(IMAGES[1], "shape", "box", who="'=ana")
    caller.fix(IMAGES[1], "colour", "blue")
    third = caller.fix(IMAGES[2], "colour", "blue").json()
    caller.undo(third["id"])
    return caller


def holds(caller: Caller) -> list[tuple]:
    rows = map(json.loads, export(caller, format="jsonl").splitlines())
    return sorted((r["sha256"], r["label"], r["value"], r["who"], r["why"]) for r in rows)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_what_holds_goes_from_one_service_to_another(fixed: Caller, other: Caller, format):
    text = export(fixed, format=format, advertiser="ada")
    assert counts(take(other, text, dry_run=True)) == (3, 0, 0, 0)
    assert holds(other) == []
    assert counts(take(other, text)) == (3, 0, 0, 0)
    assert holds(other) == holds(fixed)
    assert counts(take(other, text)) == (0, 3, 0, 0)  # twice is once
    assert "kept" in other.http.app.state.parts.images.path(FIRST).parts


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_history_is_repeated_with_its_undos(fixed: Caller, other: Caller, format):
    text = export(fixed, format=format, history=True)
    for expected in ((7, 0, 0, 0), (0, 7, 0, 0)):
        assert counts(take(other, text)) == expected
    names = ("sha256", "label", "before", "after", "who", "why")
    ours, theirs = ([tuple(r[n] for n in names) for r in each.history()] for each in (fixed, other))
    assert theirs == ours
    assert holds(other) == holds(fixed)


@pytest.mark.parametrize("history", [False, True])
def test_rows_have_what_the_model_had_said(fixed: Caller, other: Caller, history):
    rows = [json.loads(row) for row in export(fixed, format="jsonl", history=history).splitlines()]
    said = {image["sha256"]: image["labels"] for image in fixed.classify(*IMAGES)}
    for row in rows:
        assert row["model_value"] == said[row["sha256"]][row["label"]]["model_value"]
    take(other, export(fixed, format="csv", history=history))
    taken = list(csv.DictReader(io.StringIO(export(other, history=history), newline="")))
    assert {row["model_value"] for row in taken} == {""}  # another model's words are not kept


def test_a_spreadsheet_sees_no_formula(fixed: Caller):
    rows = list(csv.DictReader(io.StringIO(export(fixed, history=True), newline="")))
    assert {row["why"] for row in rows} == {"'" + ODD, ""}
    assert {row["who"] for row in rows} == {"ana", "ben", "eva", "''=ana"}


def test_the_client_does_it_too(fixed: Caller, other: Caller):
    ours = ServiceClient("http://service", "ada", "ana")
    ours.close()
    ours._http = fixed.http
    theirs = ServiceClient("http://service", "ada", "ana")
    theirs.close()
    theirs._http = other.http
    file = ours.export_fixes("csv").encode()
    assert file.decode() == export(fixed, format="csv", advertiser="ada")
    assert theirs.import_fixes(file, dry_run=True)["taken"] == 3
    report = theirs.import_fixes(file)
    assert (report["taken"], report["dry_run"]) == (3, False)
    assert set(client.ImportAnswer.__annotations__) == set(ImportAnswer.model_fields)
    assert set(client.JobRow.__annotations__) == set(JobRow.model_fields)
    assert list(ours.jobs()) == []
    with pytest.raises(ServiceError, match="format"):
        ours.export_fixes("xlsx")


@given(st.text(alphabet="'=+-@\t\rab ,;\"\n"))
def test_escaping_loses_nothing(cell: str):
    assert unescaped(escaped(cell)) == cell
    assert escaped(cell)[:1] not in tuple("=+-@\t\r")
    pieces = re.split(r"[;\t\r\n]", escaped(cell))
    assert not any(piece.startswith(tuple("=+-@")) for piece in pieces)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_another_spreadsheet_sees_no_formula_either(fixed: Caller, other: Caller, delimiter):
    why = 'a;=1+1;+1\n-1\t@x;\'=y,=z "; =q"'
    fixed.fix(IMAGES[2], "shape", "box", why=why)
    text = export(fixed, history=True)
    cells = [cell for row in csv.reader(io.StringIO(text), delimiter=delimiter) for cell in row]
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@"))]
    take(other, text)
    assert why in {row["why"] for row in other.history()}


@given(
    st.lists(st.text(alphabet=";,'=ab", min_size=1, max_size=9), min_size=3, max_size=3),
    st.text(alphabet=";,\t\r\n'\"=-ab ", max_size=12),
    st.sampled_from(",;\t"),
)
def test_cells_come_in_as_they_went_out_with_any_delimiter(names: list[str], why: str, delimiter):
    label, value, who = names
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    odd = "a note; with, many; of, them; and, more; of, both; in, it"  # a column that is left out
    writer.writerow(("advertiser", "sha256", "label", "value", "who", "why", odd))
    cells = ("ada", FIRST, label, value, who, why, odd)
    writer.writerow([escaped(cell) for cell in cells])
    (row,) = read_rows(stream.getvalue().encode())
    assert row.line is not None, row.problem
    assert (row.line.label, row.line.value, row.line.who, row.line.why) == (label, value, who, why)


def test_a_manifest_has_the_labels_of_each_picture(fixed: Caller, tmp_path):
    text = export(fixed, format="ground_truth", source_prefix="s3://bucket/kept/")
    file = tmp_path / "output.manifest"
    file.write_text(text, encoding="utf-8")
    rows = read_ground_truth(file)
    assert not rows.bad
    columns = rows.columns
    named = dict(zip(columns["relative_im_path"], zip(columns["shape"], columns["colour"])))  # noqa: B905
    assert {path.rpartition("/")[2]: labels for path, labels in named.items()} == {
        FIRST: ("", "red"),
        SECOND: ("box", "blue"),
    }
    line = json.loads(text.splitlines()[0])
    classes = fixed.http.app.state.parts.classify.backend.labels["colour"]
    assert classes[line["colour"]] == line["colour-metadata"]["class-name"]
    assert line["source-ref"].startswith(f"s3://bucket/kept/{FIRST[:2]}/{FIRST[:2]}")


def test_classes_may_be_spelled_as_another_system_does(caller: Caller):
    caller.classify(*IMAGES)
    text = "advertiser,sha256,label,value,who\n" + "".join(
        f"ada,{digest},colour,{value},ana\n"
        for digest, value in ((FIRST, "Green"), (SECOND, "RED"), (THIRD, "N/A"))
    )
    report = take(caller, text)
    assert counts(report) == (2, 0, 0, 1)
    assert report["bad_rows"][0]["row"] == 4
    assert "has no class 'N/A'" in report["bad_rows"][0]["reason"]
    assert {row["after"] for row in caller.history()} == {"green", "red"}
    assert counts(take(caller, text)) == (0, 2, 0, 1)


def test_bad_rows_are_listed_and_the_others_are_taken(caller: Caller):
    caller.classify(*IMAGES)
    caller.fix(IMAGES[2], "colour", "red", who="ben")
    text = "\n".join(
        [
            "advertiser;sha256;label;value;who;why",
            f"ada;{FIRST};colour;green;ana;seen",
            f"ada;{FIRST};size;large;ana;",
            f"ada;{FIRST};colour;gren;ana;",
            f"ada;{'0' * 64};colour;green;ana;",
            f"bob;{FIRST};colour;green;ana;",
            f"ada;{SECOND};colour;;ana;",
            f"ada;{SECOND};colour;green",
            f"ada;{SECOND};colour;green;;",
            f"ada;{THIRD};colour;green;ana;",
            "ada;abc;colour;green;ana;",
            f"ada;{SECOND};colour;red;ana;",
        ]
    )
    for dry_run, expected in ((True, (2, 0, 1, 8)), (False, (2, 0, 1, 8)), (False, (0, 2, 1, 8))):
        report = take(caller, text, dry_run=dry_run)
        assert (report["rows"], counts(report)) == (11, expected)
    assert [row["row"] for row in report["bad_rows"]] == [3, 4, 5, 6, 7, 8, 9, 11]
    reasons = [row["reason"] for row in report["bad_rows"]]
    for reason, words in zip(
        reasons,
        ["size", "green", "classify it first", "bob", "value", "6 cells", "who", "sha256"],
        strict=True,
    ):
        assert words in reason, reason
    (conflict,) = report["conflict_rows"]
    assert conflict["row"] == 10
    assert "colour is red by ben" in conflict["reason"]
    named = take(caller, f'[{{"advertiser": "ada", "sha256": "{THIRD}", "label": "shape", '
                 '"value": "box"}]', who="eva")  # fmt: skip
    assert counts(named) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\xff\xfea", "encoding"),
        (b"[{", "no JSON"),
        (b"advertiser,label\n", "no column value, sha256 or image_url"),
    ],
)
def test_files_of_another_kind_are_refused(caller: Caller, data, words):
    answer = caller.http.post("/v1/fixes/import", files={"file": ("x", data)})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_bad_line_of_json_does_not_end_the_others():
    good = {"advertiser": "ada", "sha256": FIRST, "label": "colour", "value": "red"}
    text = f"{json.dumps(good)}\n{{\n\n[1]\n{json.dumps(good)}\n"
    rows = list(read_rows(text.encode()))
    assert [(row.number, row.line is not None) for row in rows] == [
        (1, True), (2, False), (4, False), (5, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" + "{}," * (MAX_PARTS // 2) + "{}]", f"at most {MAX_PARTS:,}"),
        ('["' + "x" * MAX_JSON + '"]', f"at most {MAX_JSON:,} characters"),
    ],
    ids=["parts", "characters"],
)
def test_json_that_takes_long_to_read_is_refused(text: str, words: str):
    with pytest.raises(RequestTooLarge, match=f"{words}.*CSV or as JSON lines.*several files"):
        read_rows(text.encode())
    good = json.dumps({"advertiser": "ada", "sha256": FIRST, "label": "colour", "value": "red"})
    line = '{"more": ' + text + "}"
    rows = list(read_rows(f"{good}\n{line}\r\n{good}".encode()))
    assert [(row.number, row.line is not None) for row in rows] == [
        (1, True), (2, False), (3, True),
    ]  # fmt: skip
    assert words in rows[1].problem


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(end: str):
    text = end.join(
        ["advertiser,sha256,label,value,why", f'ada,{FIRST},colour,red,"a{end}b"',
         f"ada,{SECOND},colour,blue,"]
    )  # fmt: skip
    first, second = read_rows(text.encode())
    assert first.line is not None
    assert (first.line.why, second.number) == (f"a{end}b", 3)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_command_does_the_same(fixed: Caller, other: Caller, tmp_path, classify_export):
    source, target = (str(each.http.app.state.parts.settings.folder) for each in (fixed, other))
    file = tmp_path / "fixes.csv"
    runner = CliRunner()
    done = runner.invoke(commands, ["fixes", "export", "--folder", source, "--out", str(file)])
    assert done.exit_code == 0, done.output
    assert file.read_bytes().decode() == export(fixed, format="csv")
    bundle = str(classify_export.bundle)
    options = ["--folder", target, "--bundle", bundle]
    dry = runner.invoke(commands, ["fixes", "import", str(file), "--dry-run", *options])
    assert "3 rows: 3 would be taken, 0 unchanged, 0 conflicts, 0 bad" in dry.output
    real = runner.invoke(commands, ["fixes", "import", str(file), *options])
    assert real.exit_code == 0, real.output
    assert holds(other) == holds(fixed)
    file.write_text(f"advertiser,sha256,label,value,who\nada,{FIRST},colour,green,ana\n")
    refused = runner.invoke(commands, ["fixes", "import", str(file), *options])
    assert refused.exit_code == 1
    assert "row 2: colour is red by eva" in refused.output
