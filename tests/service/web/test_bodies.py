"""A large body delays nobody else: it is refused, or read beside what answers the others."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from service.api import common
from service.batches import items
from service.bounded_json import MAX_NAMES, MAX_PARTS, read_json
from service.database.session import Database
from service.database.tables import JobItem
from service.errors import RequestTooLarge
from service.web.body_limit import SMALL
from tests.service.support.keyed import Requests, client_of, keyed_app
from tests.service.support.serving import served
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
JSON = {"Content-Type": "application/json"}
OTHERS = 3  # who are answered while a body is read


def many_names(count: int) -> bytes:
    return b"{" + b",".join(b'"%x":0' % number for number in range(count)) + b"}"


@dataclass
class Steps:
    """What is done with a large body: each step waits until others asked, and were answered."""

    begun: list[str] = field(default_factory=list)
    answered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def after_others(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def waits(*given: Any) -> Any:
            self.begun.append(name)
            answered = self.answered = threading.Semaphore(0)  # of those who ask from now on
            for _ in range(OTHERS):
                assert answered.acquire(timeout=PATIENCE_S), f"{name} delays the others"
            return step(*given)

        return waits


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    found = Steps()
    for module, name in ((common, "read_json"), (items, "add_batch")):
        monkeypatch.setattr(module, name, found.after_others(name, getattr(module, name)))
    return found


def answer_beside_others(url: str, body: bytes, steps: Steps) -> httpx.Response:
    """Send a body, and ask for /healthz all the while; return the answer."""
    answers: list[httpx.Response] = []
    sent = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{url}/v1/batches", content=body, headers=JSON, timeout=2 * PATIENCE_S)
        )
    )
    sent.start()
    with httpx.Client(timeout=2 * PATIENCE_S) as probe:
        while sent.is_alive():
            answered = steps.answered
            assert probe.get(f"{url}/healthz").status_code == 200
            answered.release()
    sent.join()
    return answers[0]


@pytest.mark.parametrize(
    "body",
    [
        many_names(1_300_000),
        b'{"advertiser":"ada","urls":[' + b",".join([b"{}"] * 5_000_000) + b"]}",
        b'{"advertiser":"' + b'\\"' * 7_000_000,
    ],
    ids=["names", "objects", "escapes"],
)
def test_a_body_of_many_parts_is_refused_and_delays_nobody(
    database: Database, tmp_path, steps: Steps, body
):
    with served(keyed_app(database, tmp_path)) as url:
        answer = answer_beside_others(url, body, steps)
    assert steps.begun == ["read_json"]
    assert answer.status_code == 413
    error = answer.json()["error"]
    assert error["code"] == "request_too_large"
    assert error["expected"] == f"at most {MAX_PARTS:,}"
    assert error["remedy"] == "Send less at once."


def test_a_batch_of_many_long_urls_is_taken_and_delays_nobody(
    database: Database, tmp_path, steps: Steps
):
    urls = [f"http://127.0.0.1/{'x' * 275},{number}" for number in range(50_000)]
    body = json.dumps({"advertiser": "ada", "urls": urls}).encode()
    assert len(body) > 14 * 2**20
    with served(keyed_app(database, tmp_path)) as url:
        answer = answer_beside_others(url, body, steps)
    assert answer.status_code == 202, answer.text
    assert steps.begun == ["read_json", "add_batch"]
    with database.reads() as session:
        assert session.scalar(select(func.count()).select_from(JobItem)) == 50_000


def test_json_is_small_unless_a_path_needs_more(database: Database, tmp_path):
    app = keyed_app(database, tmp_path)
    client, described = client_of(app), Requests(app)
    large = json.dumps({"none": "x" * SMALL})
    taken = set()
    for path, methods in described.paths.items():
        for method in methods:
            made = described.make(method, path)
            if "json" not in made:
                continue
            answer = client.request(method, made["url"], content=large, headers=JSON)
            if answer.status_code == 413:
                assert answer.json()["error"]["expected"] == f"at most {SMALL:,} bytes"
            else:
                taken.add(path)
                assert answer.status_code == 422
    assert taken == {"/v1/batches", "/v1/outcomes"}


def test_a_form_without_files_is_small(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path))
    answer = client.post("/v1/classify", data={"advertiser": "ada", "urls": ["x" * 2000] * 140})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path", ["/v1/fixes", "/v1/confirmations", "/v1/outcomes", "/v1/models/rollback"]
)
def test_every_body_of_json_has_few_names(database: Database, tmp_path, path):
    client = client_of(keyed_app(database, tmp_path))
    answer = client.post(path, content=many_names(MAX_NAMES + 1), headers=JSON)
    assert answer.status_code == 413
    assert "too many names" in answer.json()["error"]["message"]


def test_every_route_that_takes_json_reads_it_beside_the_event_loop(database: Database, tmp_path):
    app = keyed_app(database, tmp_path)
    described = Requests(app)
    for path, methods in described.paths.items():
        for method in methods:
            made = described.make(method, path)
            if "json" in made:
                body = many_names(MAX_NAMES + 1)
                answer = client_of(app).request(method, made["url"], content=body, headers=JSON)
                assert answer.status_code == 413, (method, path)


def test_a_file_of_fixes_has_as_few_parts_as_a_body(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path))
    text = b"[" + b"{}," * (MAX_PARTS // 2) + b"{}]"
    answer = client.post("/v1/fixes/import", files={"file": ("fixes.json", text)})
    assert answer.status_code == 413
    error = answer.json()["error"]
    assert error["expected"] == f"at most {MAX_PARTS:,}"
    assert "CSV or as JSON lines" in error["remedy"]


def test_what_is_no_json_is_told_as_before(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path))
    for body, status in ((b'{"a": ', 422), (b"\xff\xfe", 400), (b"[" * 100_000, 400)):
        assert client.post("/v1/batches", content=body, headers=JSON).status_code == status


def test_values_are_those_of_the_text(database: Database):
    value = {"a": ["b,[{", 'c"', "d\\", "é\n", 1.5, None, True, {"e": {}}]}
    assert read_json(json.dumps(value).encode()) == value
    assert read_json("\ufeff[1]".encode()) == [1]
    most = json.dumps(["x,x"] * (MAX_PARTS // 2)).encode()  # as many strings as commas and brackets
    assert len(read_json(most)) == MAX_PARTS // 2
    with pytest.raises(RequestTooLarge, match="strings, commas and brackets"):
        read_json(most.replace(b"[", b"[{},"))
    with pytest.raises(RequestTooLarge, match="escapes"):
        read_json(b'["' + b"\\n" * (MAX_PARTS + 1) + b'"]')
