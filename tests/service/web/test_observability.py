"""The log: whatever is written while a request is answered has its id."""

import errno
import io
import json
import logging
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError, OperationalError

from augrank.errors import ServerError
from service.database.session import Database
from service.errors import BackendUnavailable
from service.web.observability import JsonFormatter
from tests.service.support.keyed import client_of, keyed_app

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
FAILURES = {
    "internal": OSError(errno.EIO, "no answer of the disk"),
    "server": ServerError("the bundle is broken"),
    "database": OperationalError("SELECT 1", {}, Exception("gone")),
    "constraint": IntegrityError("INSERT", {}, Exception("NOT NULL constraint failed: a.b")),
    "disk": OSError(errno.ENOSPC, "no space"),
    "backend": BackendUnavailable("the server is away"),
    "unknown": ZeroDivisionError("by zero"),
}


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the service's log writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    log = logging.getLogger("augrank.service")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield stream
    log.setLevel(level)
    log.removeHandler(handler)


@pytest.fixture
def app(database: Database, tmp_path) -> FastAPI:
    made = keyed_app(database, tmp_path)

    @made.get("/fails/{how}")
    def fails(how: str) -> None:  # in a thread, as most routes are
        raise FAILURES[how]

    return made


@pytest.mark.parametrize("how", FAILURES)
def test_what_is_logged_of_a_failure_has_the_id_of_its_request(app, lines, how):
    client = client_of(app)
    answer = client.get(f"/fails/{how}", headers={"Accept": "text/html"})
    assert answer.status_code >= 500
    client.get("/healthz")
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    (failure,) = [line for line in written if line["level"] == "error"]
    assert failure["request_id"] == answer.headers["X-Request-Id"]
    assert ("exception" in failure) == (how != "backend")
    if "exception" in failure:
        assert str(FAILURES[how]).splitlines()[0] in failure["exception"]
    ids = [line["request_id"] for line in written if line["message"] == "request"]
    assert len(set(ids)) == 2


def test_what_is_logged_outside_of_requests_has_no_id(app, lines):
    client_of(app).get("/healthz")
    logging.getLogger("augrank.service").warning("by itself")
    last = json.loads(lines.getvalue().splitlines()[-1])
    assert (last["message"], "request_id" in last) == ("by itself", False)
