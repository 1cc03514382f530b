"""What browsers may do with responses, and what other web sites may not do through browsers."""

import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.access.origin import host_of, is_cross_site, is_loopback, is_remote
from service.api.examples import ADVERTISER, CLASSIFY, SHA256, URL
from service.api.openapi import describe
from service.database.session import Database
from service.pages.docs import operations_of
from tests.service.support.keyed import HOST, client_of, keyed_app, make_key

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def app(database: Database, tmp_path) -> FastAPI:
    made = keyed_app(database, tmp_path, max_request_mb=0.01)

    @made.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    return made


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return client_of(app)


# Headers.


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200), ("GET", "/readyz", 200), ("GET", "/metrics", 200),
        ("GET", "/docs", 200), ("GET", "/login", 303), ("GET", "/v1/openapi.json", 200),
        ("GET", "/static/style.css", 200), ("GET", "/static/none.css", 404),
        ("GET", "/none", 404), ("DELETE", "/docs", 405), ("POST", "/v1/fixes", 422),
        ("POST", "/v1/batches", 413), ("GET", "/broken", 500),
    ],
)  # fmt: skip
def test_every_response_has_the_headers_an_id_and_a_metric(client, method, path, status):
    answer = client.request(method, path, content=b"x" * (20_000 if status == 413 else 0))
    assert answer.status_code == status
    assert answer.headers["Content-Security-Policy"] == CSP
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    kept = "no-cache" if path.startswith("/static/") else "no-store"
    assert answer.headers["Cache-Control"] == kept
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])
    counted = client.get("/metrics").text
    assert f'method="{method}"' in counted
    assert f'status="{status}"' in counted


def test_what_is_refused_has_the_headers_too(app, database: Database):
    make_key(database)
    client = client_of(app)
    for path, status in (("/metrics", 401), ("/docs", 303), ("/login", 200)):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["Content-Security-Policy"] == CSP
        assert answer.headers["Cache-Control"] == "no-store"
        assert "X-Request-Id" in answer.headers


def test_a_static_file_is_asked_for_again_and_has_not_changed(client):
    first = client.get("/static/style.css")
    assert first.headers["Content-Type"].startswith("text/css")
    again = client.get("/static/style.css", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["Content-Security-Policy"] == CSP
    for path in ("/static/../render.py", "/static/%2e%2e/render.py", "/static/"):
        assert client.get(path).status_code == 404


# Errors, for programs and for people.


def test_people_get_an_error_as_a_page_and_programs_as_json(client):
    page = client.get("/none", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert "<h1>Not found</h1>" in page.text
    assert page.headers["X-Request-Id"] in page.text
    for path, accept in (("/none", "*/*"), ("/v1/none", "text/html")):
        answer = client.get(path, headers={"Accept": accept})
        assert answer.json()["error"]["code"] == "not_found"
    assert client.delete("/docs").headers["Allow"] == "GET"


# Without keys: this machine alone.


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8090", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8090", 200),
        ("127.8.9.1", 200), ("evil.example", 403), ("evil.example:8090", 403),
        ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403), ("10.0.0.1", 403),
        ("0.0.0.0:8090", 403), ("", 403), ("[", 403), ("localhost@evil.example", 403),
    ],
)  # fmt: skip
def test_without_keys_another_host_is_refused(app, host, status):
    for path in ("/v1/openapi.json", "/docs", "/metrics", "/login"):
        answer = client_of(app).get(path, headers={"Host": host})
        assert answer.status_code == (303 if path == "/login" and status == 200 else status)
        if status == 403:
            assert answer.json()["error"]["code"] == "forbidden"
            assert "keys add" in answer.json()["error"]["remedy"]


def test_a_name_of_this_machine_can_be_allowed(database: Database, tmp_path):
    app = keyed_app(database, tmp_path, allowed_hosts=("Box.local",))
    assert client_of(app).get("/docs", headers={"Host": "box.LOCAL:8090"}).status_code == 200
    assert client_of(app).get("/docs", headers={"Host": "box.other"}).status_code == 403


def test_with_keys_a_host_that_is_none_is_refused(app, database: Database):
    client = client_of(app, make_key(database))
    for host in ("[", "", "a:b:c]"):
        answer = client.get("/docs", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_with_keys_every_host_is_answered(app, database: Database):
    client = client_of(app, make_key(database))
    assert client.get("/docs", headers={"Host": "augrank.example"}).status_code == 200


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("::1", 200), ("10.0.0.7", 403), ("2001:db8::1", 403)],
)
def test_without_keys_another_machine_is_refused_even_through_a_proxy(app, address, status):
    client = TestClient(app, base_url=HOST, client=(address, 5000))
    assert client.get("/docs").status_code == status


def test_hosts_and_addresses_are_told_apart(database: Database):
    assert [is_loopback(each) for each in ("::1", "127.1.2.3", "Localhost", "example")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert [host_of(each) for each in ("[::1]:80", "a.b:8", "", "]")] == ["::1", "a.b", "", ""]
    assert [is_remote(each) for each in ("10.0.0.1", "127.0.0.1", "", "unix")] == [
        True, False, False, False,
    ]  # fmt: skip


# Other web sites.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"Sec-Fetch-Site": "same-origin"}, 422),
        ({"Sec-Fetch-Site": "none"}, 422),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ({"Sec-Fetch-Site": "odd"}, 403),
        ({"Origin": HOST}, 422),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": ""}, 403),
    ],
)
def test_another_site_changes_nothing(client, headers, status):
    answer = client.post("/v1/fixes", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("mode", "destination", "status"),
    [
        ("navigate", "document", 200),  # a link
        ("navigate", "iframe", 403),
        ("no-cors", "image", 403),
        ("cors", "empty", 403),
    ],
)
def test_another_site_may_link_and_not_embed(client, mode, destination, status):
    headers = {
        "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination,
    }  # fmt: skip
    assert client.get("/docs", headers=headers).status_code == status


def test_another_site_cannot_log_somebody_in(app, database: Database):
    key = make_key(database)
    sent = {"key": key, "next": "/"}
    refused = client_of(app).post("/login", data=sent, headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "Set-Cookie" not in refused.headers


def test_a_key_may_come_from_anywhere(app, database: Database):
    client = client_of(app, make_key(database))
    assert client.post("/v1/fixes", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 422


def test_what_browsers_do_not_say_is_no_other_site(database: Database):
    assert not is_cross_site("GET", {"origin": "http://evil.example", "host": "a"})
    assert not is_cross_site("POST", {"host": "a"})


# The description of the interface.


def test_docs_list_every_operation_and_load_nothing_from_elsewhere(client):
    page = client.get("/docs")
    described = client.get("/v1/openapi.json").json()
    operations = [
        f"{method.upper()} {path}" for path, each in described["paths"].items() for method in each
    ]
    assert "POST /v1/fixes" in operations
    for operation in operations:
        assert f"<code>{operation}</code></h2>" in page.text
    assert "burgundy" in page.text  # of the example of a fix
    assert "This service has no keys" in page.text
    loaded = re.findall(r'(?:src|href|action)="([^"]*)"', page.text)
    assert loaded
    assert all(re.match(r"(/(?!/)|#)", each) for each in loaded)
    assert not re.search(r"<style|<script(?![^>]*src=)|\son\w+=|\sstyle=", page.text)


def test_docs_show_examples_of_what_is_taken_and_answered(app):
    by_name = {
        f"{each.method} {each.path}": each for each in operations_of(describe(app, needs_key=False))
    }
    classify, fixes = by_name["POST /v1/classify"], by_name["GET /v1/fixes"]
    examples = {field.name: field.example for field in (*classify.takes, *fixes.takes)}
    assert examples["advertiser"] == ADVERTISER
    assert examples["review_kind"] == "Box Review"
    assert examples["sha256"] == SHA256
    assert examples["urls"] == URL
    assert json.loads(classify.answer) == CLASSIFY
    page = client_of(app).get("/docs").text
    assert f"<code>{ADVERTISER}</code>" in page
    assert "Example of an answer" in page


def test_the_description_names_the_scheme_and_says_whether_a_key_is_needed(app, database: Database):
    described = client_of(app).get("/v1/openapi.json").json()
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert "security" not in described
    client = client_of(app, make_key(database))
    described = client.get("/v1/openapi.json").json()
    assert described["security"] == [{"key": []}]
    assert described["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in described["paths"]["/metrics"]["get"]
    assert "Bearer aug_" in client.get("/docs").text
