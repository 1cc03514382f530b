"""People log in with a key: cookie, session, CSRF token, and where they go on."""

import logging
import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from service.access import sessions
from service.access.identity import Role
from service.access.token_buckets import TokenBuckets
from service.database.session import Database
from service.database.tables import LoginSession
from service.pages.login import local_path
from tests.service.support.keyed import HOST, client_of, keyed_app, make_key, revoke

FIX = {
    "advertiser": "ada", "sha256": "0" * 64, "label": "colour", "value": "red", "who": "ana",
}  # fmt: skip


def log_in(client: TestClient, key: str, **fields: str):
    return client.post("/login", data={"key": key, **fields})


def token_of(client: TestClient) -> str:
    """Return the CSRF token of a page."""
    page = client.get("/docs")
    assert page.status_code == 200
    (token,) = re.findall(r'name="csrf-token" content="([0-9a-f]{64})"', page.text)
    return str(token)


@pytest.fixture
def key(database: Database) -> str:
    return make_key(database, "ana", "ada", Role.CORRECT)


@pytest.fixture
def client(database: Database, key: str, tmp_path) -> TestClient:
    return client_of(keyed_app(database, tmp_path))


def test_a_page_without_a_login_asks_for_one_and_comes_back(client, key):
    asked = client.get("/docs?a=1&b=2")
    assert asked.status_code == 303
    assert asked.headers["Location"] == "/login?next=/docs%3Fa%3D1%26b%3D2"
    form = client.get(asked.headers["Location"])
    assert form.status_code == 200
    assert 'name="next" value="/docs?a=1&amp;b=2"' in form.text
    assert 'type="password"' in form.text
    done = log_in(client, key, next="/docs?a=1&b=2")
    assert (done.status_code, done.headers["Location"]) == (303, "/docs?a=1&b=2")
    page = client.get("/docs")
    assert page.status_code == 200
    assert "<span>ana</span>" in page.text
    assert client.get("/login?next=/docs").headers["Location"] == "/docs"  # logged in already


def test_a_login_sets_a_cookie_that_scripts_and_other_sites_cannot_use(client, key):
    cookie = log_in(client, key).headers["Set-Cookie"]
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "samesite=lax", "path=/", "max-age=43200"}
    safe = client_of(client.app, url=HOST.replace("http", "https"))
    assert "; Secure" in log_in(safe, key).headers["Set-Cookie"]


def test_of_a_session_the_digest_alone_is_kept(client, key, database: Database):
    log_in(client, key)
    session_id = client.cookies[sessions.COOKIE]
    with database.reads() as session:
        (row,) = session.query(LoginSession)
        stored = str(session.execute(text("SELECT * FROM login_sessions")).all())
    assert session_id not in stored
    assert row.digest == sessions.digest_of(session_id)
    assert row.expires_at - row.created_at == timedelta(hours=12)
    assert token_of(client) not in stored


@pytest.mark.parametrize("wrong", ["", "aug_000000000000_" + "x" * 43, "x" * 1000])
def test_a_wrong_key_is_refused_and_not_shown(client, wrong):
    refused = log_in(client, wrong, next="/docs")
    assert refused.status_code == 401
    assert "this key is not known" in refused.text
    assert 'role="alert"' in refused.text
    assert 'value="/docs"' in refused.text
    assert wrong == "" or wrong not in refused.text
    assert "Set-Cookie" not in refused.headers
    assert client.get("/docs").status_code == 303


def test_each_login_is_a_new_session_and_ends_the_one_before(client, key, database: Database):
    log_in(client, key)
    first = client.cookies[sessions.COOKIE]
    log_in(client, key)
    assert client.cookies[sessions.COOKIE] != first
    with database.reads() as session:
        assert session.query(LoginSession).count() == 1


def test_a_session_that_somebody_else_chose_is_not_taken(client, key):
    client.cookies.set(sessions.COOKIE, "chosen")
    refused = client.get("/docs")
    assert refused.status_code == 303
    assert "your login has ended" in client.get("/login").text
    log_in(client, key)
    assert client.cookies.get(sessions.COOKIE, domain="127.0.0.1") != "chosen"


def test_a_logout_ends_the_session_everywhere(client, key):
    log_in(client, key)
    token, session_id = token_of(client), client.cookies[sessions.COOKIE]
    assert client.post("/logout").status_code == 403
    assert client.get("/docs").status_code == 200
    done = client.post("/logout", data={"csrf_token": token})
    assert (done.status_code, done.headers["Location"]) == (303, "/login")
    assert sessions.COOKIE not in client.cookies
    stolen = client_of(client.app)
    stolen.cookies.set(sessions.COOKIE, session_id)
    assert stolen.get("/docs").status_code == 303
    assert stolen.get("/v1/openapi.json").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-CSRF-Token": ""}, 403),
        ({"X-CSRF-Token": "0" * 64}, 403),
        ({"X-CSRF-Token": "é"}, 403),
        ({"X-CSRF-Token": "{token}"}, 404),  # such an image was never sent
    ],
)
def test_a_change_by_cookie_needs_the_token_of_a_page(client, key, headers, status):
    log_in(client, key)
    token = token_of(client)
    sent = {name: value.format(token=token).encode() for name, value in headers.items()}
    answer = client.post("/v1/fixes", json=FIX, headers=sent)
    assert answer.status_code == status
    if status == 403:
        assert "a page of your login" in answer.json()["error"]["message"]


def test_a_form_sends_the_token_as_a_field(client, key):
    log_in(client, key)
    fields, files = {"advertiser": "ada"}, [("images", ("0", b"no image"))]
    assert client.post("/v1/classify", data=fields, files=files).status_code == 403
    fields["csrf_token"] = token_of(client)
    assert client.post("/v1/classify", data=fields, files=files).status_code == 200


def test_the_token_of_another_session_is_refused(client, key):
    log_in(client, key)
    other = client_of(client.app)
    log_in(other, key)
    assert token_of(other) != token_of(client)
    header = {"X-CSRF-Token": token_of(other)}
    assert client.post("/v1/fixes", json=FIX, headers=header).status_code == 403


def test_a_key_needs_no_token_even_beside_a_cookie(client, key):
    log_in(client, key)
    header = {"Authorization": f"Bearer {key}"}
    assert client.post("/v1/fixes", json=FIX, headers=header).status_code == 404


def test_a_session_has_the_role_and_the_advertiser_of_its_key(client, key):
    log_in(client, key)
    header = {"X-CSRF-Token": token_of(client)}
    other = client.post("/v1/fixes", json=FIX | {"advertiser": "bob"}, headers=header)
    assert "no advertiser 'bob'" in other.json()["error"]["message"]


def test_a_revoked_key_ends_its_sessions(client, key, database: Database):
    log_in(client, key)
    assert client.get("/v1/openapi.json").status_code == 200
    revoke(database, key)
    time.sleep(1.0)
    refused = client.get("/v1/openapi.json")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "this key was revoked" in refused.json()["error"]["message"]
    assert client.get("/docs").headers["Location"] == "/login?next=/docs"
    assert "this key was revoked" in client.get("/login").text
    again = log_in(client, key)
    assert again.status_code == 401
    assert "this key was revoked" in again.text


def test_a_session_ends_after_its_time_and_is_removed(client, key, database: Database):
    log_in(client, key)
    with database.writes() as session:
        session.query(LoginSession).one().expires_at = datetime.now(UTC) - timedelta(seconds=1)
    answer = client.get("/v1/openapi.json")
    assert answer.status_code == 401
    assert "your login has ended" in answer.json()["error"]["message"]
    log_in(client_of(client.app), key)
    with database.reads() as session:
        assert session.query(LoginSession).count() == 1


def test_logins_are_tried_a_few_times_only(client, key):
    now = [0.0]
    client.app.state.parts.login_attempts = TokenBuckets(1 / 6, 3, lambda: now[0])
    for _ in range(3):
        assert log_in(client, "wrong").status_code == 401
    refused = log_in(client, key)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "6")
    assert "Wait for 6 s" in refused.text
    now[0] = 6.0
    assert log_in(client, key).status_code == 303


def test_without_keys_there_is_nothing_to_log_in_to(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path))
    assert client.get("/login?next=/docs").headers["Location"] == "/docs"
    assert log_in(client, "any").headers["Location"] == "/"
    assert "Log out" not in client.get("/docs").text


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example",
        "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "evil.example", "", "///x",
        "http:/evil", "/login", "/login?next=/login", "//[", " /x", "/\u2028/x",
    ],
)  # fmt: skip
def test_a_login_never_leads_to_another_site(client, key, address):
    done = log_in(client, key, next=address)
    assert (done.status_code, done.headers["Location"]) == (303, "/")


@given(st.text(alphabet="/\\:.@?#%ab\t\r\n \x00é") | st.text())
def test_whatever_next_is_it_is_a_path_here(address):
    path = local_path(address)
    split = urlsplit(path)
    assert (split.scheme, split.netloc) == ("", "")
    assert re.match(r"/(?![/\\])", path)
    assert path.isprintable()


def test_where_a_page_is_asked_for_with_an_odd_path_the_login_stays_here(client):
    asked = client.get("http://testserver//evil.example/x")
    location = asked.headers["Location"]
    assert location.startswith("/login?next=")
    assert 'name="next" value="/"' in client.get(location).text


def test_no_secret_is_in_the_log(client, key, database: Database, caplog):
    caplog.set_level(logging.DEBUG)
    log_in(client, key)
    token, session_id = token_of(client), client.cookies[sessions.COOKIE]
    client.post("/v1/fixes", json=FIX, headers={"X-CSRF-Token": token})
    client_of(client.app, key).get("/v1/openapi.json")
    client_of(client.app, key[:-1]).get("/v1/openapi.json")
    client_of(client.app).post("/login", data={"next": key})
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE api_keys RENAME TO hidden"))
    time.sleep(1.0)
    assert client_of(client.app, key).get("/v1/openapi.json").status_code >= 500
    assert log_in(client_of(client.app), key).status_code >= 500
    lines = [record.getMessage() for record in caplog.records if record.name == "augrank.service"]
    assert len(lines) >= 6
    for secret in (key.split("_", 2)[2][:-1], session_id, token):
        assert secret not in caplog.text
