"""Keys: made, found, revoked, expired; each route asks for a role, and for its own advertiser."""

import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from typer.testing import CliRunner

from augrank.errors import BadRequest
from service import api, pages
from service.access import keys
from service.access.identity import Role
from service.client import ServiceClient, ServiceError
from service.commands.app import app as command
from service.commands.keys import duration_of
from service.database.session import Database
from service.database.tables import ApiKey
from service.errors import Unauthorized
from tests.service.support.keyed import (
    HOST,
    PUBLIC,
    Requests,
    client_of,
    filled,
    keyed_app,
    make_key,
    revoke,
    role_of,
    routes_of,
)
from tests.service.support.pages import photo

ROUTES = [route for router in (*api.ROUTERS, *pages.ROUTERS) for route in router.routes]
CLOSED = [
    pytest.param(method, route.path, role_of(route.dependant), id=f"{method} {route.path}")
    for route in ROUTES
    if route.path not in PUBLIC
    for method in sorted(route.methods)
]
FIRST_S = 1.2  # a second, and time to ask


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, dict[str, str]]]:
    """An app with a key of each role for all advertisers, and one that is Ada's alone."""
    folder = tmp_path_factory.mktemp("closed")
    database = Database(f"sqlite:///{folder / 'service.db'}")
    database.migrate()
    made = {role.name: make_key(database, role.name, None, role) for role in Role}
    made["ADA"] = make_key(database, "ada", "ada", Role.ADMIN)
    yield keyed_app(database, folder), made
    database.close()


def test_a_key_holds_and_its_secret_is_nowhere_in_the_database(database: Database, tmp_path):
    key = make_key(database, "ana", "ada", Role.CORRECT)
    with database.reads() as session:
        row = keys.find_key(session, key)
        assert keys.identity_of_key(row) == keys.Identity("ana", "ada", Role.CORRECT)
        stored = str(session.execute(text("SELECT * FROM api_keys")).all())
    secret = key.split("_", 2)[2]
    assert len(secret) == 43  # 256 bits
    assert secret not in stored
    assert row.prefix in key
    files = b"".join(path.read_bytes() for path in tmp_path.glob("service.db*"))
    assert secret.encode() not in files


def test_two_keys_have_nothing_in_common(database: Database):
    first, second = make_key(database), make_key(database)
    assert first.split("_")[1] != second.split("_")[1]
    assert first.split("_", 2)[2] != second.split("_", 2)[2]


def test_the_rest_of_a_key_is_compared_in_constant_time(database: Database, monkeypatch):
    key = make_key(database)
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(
        hmac, "compare_digest", lambda *pair: compared.append(pair) or compare(*pair)
    )
    with database.reads() as session, pytest.raises(Unauthorized, match="not known"):
        keys.find_key(session, wrong)
    assert compared == [(keys.digest_of(key), keys.digest_of(wrong))]


@pytest.mark.parametrize("given", ["", "aug_", "aug_00_x", "a" * 10_000, "\x00", "ключ"])
def test_what_is_no_key_is_not_known(database: Database, given):
    make_key(database)
    with database.reads() as session, pytest.raises(Unauthorized, match="not known"):
        keys.find_key(session, given)


def test_a_revoked_key_stays_revoked_at_its_first_time(database: Database):
    key = make_key(database)
    revoke(database, key)
    with database.writes() as session:
        (row,) = keys.list_keys(session)
        first = row.revoked_at
        assert keys.revoke_key(session, row.id).revoked_at == first
        with pytest.raises(Unauthorized, match="revoked on 20"):
            keys.find_key(session, key)
        assert keys.any_key(session)


def test_a_key_ends_when_it_expires(database: Database):
    now = datetime.now(UTC)
    holds = make_key(database, expires_at=now + timedelta(minutes=1))
    ended = make_key(database, expires_at=now - timedelta(seconds=1))
    with database.reads() as session:
        assert keys.find_key(session, holds).expires_at is not None
        with pytest.raises(Unauthorized, match=f"expired on {now:%Y}"):
            keys.find_key(session, ended)


def test_a_use_is_noted_at_most_once_an_hour(database: Database, tmp_path):
    key = make_key(database)

    def used_at() -> datetime | None:
        with database.reads() as session:
            return session.query(ApiKey).one().last_used_at

    def ask() -> None:  # each time as a new process does
        answer = client_of(keyed_app(database, tmp_path), key).get("/v1/openapi.json")
        assert answer.status_code == 200

    assert used_at() is None
    ask()
    first = used_at()
    ask()
    assert first is not None
    assert used_at() == first
    with database.writes() as session:
        session.query(ApiKey).one().last_used_at = first - timedelta(minutes=61)
    ask()
    assert used_at() > first - timedelta(minutes=1)


def test_without_keys_all_may_ask_until_another_process_makes_one(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path))
    assert client.get("/metrics").status_code == 200
    other = Database(database.url)
    key = make_key(other)
    with_key = client_of(client.app, key)
    assert with_key.get("/metrics").status_code == 200
    time.sleep(FIRST_S)
    refused = client.get("/metrics")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "unauthorized"
    assert "keys add" in refused.json()["error"]["remedy"]
    assert with_key.get("/metrics").status_code == 200
    revoke(other, key)
    time.sleep(FIRST_S)
    refused = with_key.get("/metrics")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "revoked" in refused.json()["error"]["message"]
    assert client.get("/metrics").status_code == 401  # and it does not open again
    other.close()


def test_an_expired_key_is_refused_with_the_day(database: Database, tmp_path):
    key = make_key(database, expires_at=datetime.now(UTC) - timedelta(days=1))
    refused = client_of(keyed_app(database, tmp_path), key).get("/v1/openapi.json")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "this key expired on" in refused.json()["error"]["message"]
    assert key not in refused.text


def test_a_key_is_looked_up_once_in_a_while(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path), make_key(database))
    client.get("/v1/openapi.json")
    asked = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    started = time.monotonic()
    for _ in range(50):
        assert client.get("/v1/openapi.json").status_code == 200
    elapsed = time.monotonic() - started
    look_ups = [each for each in asked if "api_keys" in each]
    assert len(look_ups) <= 1 + elapsed / 0.9


def test_a_service_that_listens_elsewhere_is_never_open(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path, host="0.0.0.0"))
    assert client.get("/metrics").status_code == 401


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer x", "bearer  ", "{key}"])
def test_a_header_that_holds_no_key_is_refused(closed, header):
    app, made = closed
    given = header.format(key=made["ADMIN"])
    answer = client_of(app).get("/v1/openapi.json", headers={"Authorization": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


def test_the_scheme_of_the_header_may_be_written_in_any_case(closed):
    app, made = closed
    header = {"Authorization": f"bEARER  {made['READ']}"}
    assert client_of(app).get("/v1/openapi.json", headers=header).status_code == 200


# Each route.


def test_no_route_is_open_unless_it_is_listed(closed):
    app, _ = closed
    found = {route.path for route in routes_of(app) if role_of(route.dependant) is None}
    assert found == PUBLIC
    assert {route.path for route in routes_of(app)} == {route.path for route in ROUTES}


@pytest.mark.parametrize(("method", "path", "role"), CLOSED)
def test_nobody_gets_in_without_a_key(closed, method, path, role):
    app, _ = closed
    answer = client_of(app).request(method, filled(path))
    if path.startswith("/v1/") or path == "/metrics":
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "unauthorized"
    else:
        assert answer.status_code == 303
        assert answer.headers["Location"].startswith("/login?next=/")


@pytest.mark.parametrize(("method", "path", "role"), CLOSED)
def test_a_route_asks_for_its_role(closed, method, path, role):
    app, made = closed
    for each in Role:
        answer = client_of(app, made[each.name]).request(method, filled(path))
        if each < role:
            assert answer.status_code == 403, answer.text
            assert f"expected the role {role.name.lower()}" in answer.text
        else:
            assert answer.status_code not in (401, 403), answer.text


def _of_advertisers() -> list:
    app = FastAPI(openapi_url=None)
    for router in (*api.ROUTERS, *pages.ROUTERS):
        app.include_router(router)
    return [
        pytest.param(*each, id=" ".join(each))
        for each in Requests(app).of_advertisers()
        if each != ("get", "/")  # without a recommender it shows nothing of anybody
    ]


@pytest.mark.parametrize(("method", "path"), _of_advertisers())
def test_a_route_shows_no_other_advertiser(closed, method, path):
    app, made = closed
    asked = Requests(app).make(method, path, advertiser="bob")
    refused = client_of(app, made["ADA"]).request(**asked)
    assert refused.status_code == 404, refused.text
    assert "no advertiser &#39;bob&#39;" in refused.text or "no advertiser 'bob'" in refused.text


def test_the_routes_that_take_an_advertiser_are_found(closed):
    found = {path for _, path in Requests(closed[0]).of_advertisers()}
    assert {"/v1/classify", "/v1/fixes", "/v1/batches", "/v1/batches/{job_id}"} <= found


def test_metrics_are_about_all_advertisers(closed):
    app, made = closed
    assert client_of(app, made["READ"]).get("/metrics").status_code == 200
    assert client_of(app, made["ADA"]).get("/metrics").status_code == 403


# The client.


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_fix_has_the_name_of_the_key_whatever_the_body_says(database: Database, tmp_path):
    app = keyed_app(database, tmp_path)
    with ServiceClient(HOST, "ada", key=make_key(database, "ana", "ada")) as client:
        sent = client._http.headers["Authorization"]
        assert sent.startswith("Bearer aug_")
        client.close()
        client._http = client_of(app, sent.removeprefix("Bearer "))
        (answer,) = client.classify(photo(0))
        assert client.fix(answer, "colour", "red")["who"] == "ana"
        client._who = "eva"
        (answer,) = client.classify(photo(0))
        assert client.fix(answer, "colour", "green")["who"] == "ana"
        client._advertiser = "bob"
        with pytest.raises(ServiceError) as refused:
            client.classify(photo(0))
    assert (refused.value.status, refused.value.code) == (404, "not_found")


# The command.


def run(folder: Path, *arguments: str):
    return CliRunner().invoke(command, ["keys", *arguments, "--folder", str(folder)])


def test_the_command_makes_lists_and_revokes_keys(tmp_path):
    empty = run(tmp_path, "list")
    assert "There are no keys" in empty.output
    made = run(
        tmp_path, "add", "--name", "ana", "--advertiser", "dealer_007", "--role", "correct",
        "--expires-in", "90d",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert keys.PATTERN.fullmatch(key)
    assert "not shown again" in made.stderr
    assert "the first key" in made.stderr
    second = run(tmp_path, "add", "--name", "[red]eva", "--all-advertisers")
    assert "the first key" not in second.stderr
    listed = run(tmp_path, "list").output
    day = f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}"
    (ana,) = [line for line in listed.splitlines() if "dealer_007" in line]
    assert all(word in ana for word in ("1 ", "ana", "correct", "never", f"holds until {day}"))
    assert "[red]eva" in listed
    assert "(all)" in listed
    assert key[:16] in listed
    assert key[20:] not in listed
    done = run(tmp_path, "revoke", "1")
    assert "Key 1 of ana does not hold any more" in done.output
    assert run(tmp_path, "revoke", "1").output == done.output
    assert "revoked 20" in run(tmp_path, "list").output
    missing = run(tmp_path, "revoke", "9")
    assert missing.exit_code == 2
    assert "keys list" in missing.output
    database = Database(f"sqlite:///{tmp_path / 'service.db'}")
    with database.reads() as session, pytest.raises(Unauthorized, match="revoked"):
        keys.find_key(session, key)
    database.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--advertiser NAME or --all-advertisers, got neither"),
        (("--advertiser", "a", "--all-advertisers"), "got both"),
        (("--all-advertisers", "--expires-in", "soon"), "such as 90d"),
        (("--advertiser", "a\nb"), "--advertiser does not fit"),
        (("--advertiser", " "), "--advertiser does not fit"),
        (("--all-advertisers", "--role", "owner"), "'read', 'correct', 'admin'"),
    ],
)
def test_what_does_not_fit_makes_no_key(tmp_path, options, words):
    done = run(tmp_path, "add", "--name", "ana", *options)
    assert done.exit_code == 2
    assert words in " ".join(done.output.replace("│", " ").split())
    assert "There are no keys" in run(tmp_path, "list").output


def test_durations_are_read():
    assert duration_of("90d") == timedelta(days=90)
    assert duration_of("12h") == timedelta(hours=12)
    for wrong in ("0d", "-1d", "90", "d", "1y", "1 d", "9" * 9 + "w"):
        with pytest.raises(BadRequest, match="90d"):
            duration_of(wrong)


def test_another_address_needs_a_key_first(tmp_path, monkeypatch):
    monkeypatch.setattr("service.web.observability.log_as_json", lambda: None)
    options = [str(tmp_path / "bundle"), "--folder", str(tmp_path), "--host", "0.0.0.0"]
    refused = CliRunner().invoke(command, [*options, "--port", "0"])
    assert refused.exit_code == 2
    assert "this machine alone" in refused.output
    assert "keys add" in refused.output
    run(tmp_path, "add", "--name", "ana", "--all-advertisers")
    bundle = CliRunner().invoke(command, [*options, "--port", "0"])
    assert "this machine alone" not in bundle.output  # but there is no such bundle
    assert bundle.exit_code == 2
