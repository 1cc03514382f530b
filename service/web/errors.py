"""Every error has one form, and no traceback leaves the process.

Programs get it as JSON, people who look at a page as a page.
"""

import logging
import reprlib
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError as ValueRefused
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from augrank.errors import AugrankError, BadRequest
from augrank.files import DISK_IS_FULL
from service.database.session import met_a_change
from service.errors import BackendFailed, BackendUnavailable, ChangedMeanwhile, DiskFull
from service.pages.errors import error_page
from service.web.observability import INTERNAL
from service.web.paths import is_for_programs

log = logging.getLogger("augrank.service")
# What SQLite and PostgreSQL say of a disk without space: neither has a class of its own for it.
SQLITE_FULL, POSTGRES_FULL = "database or disk is full", "No space left on device"
DATABASE_ERRORS = (OperationalError, InterfaceError, PoolTimeout)


def handle_errors(app: FastAPI) -> None:
    """Let an app answer errors."""
    for kind in (
        *(AugrankError, RequestValidationError, HTTPException, OSError),
        *(ValueRefused, IntegrityError, *DATABASE_ERRORS),
    ):
        app.add_exception_handler(kind, answer)


def answer(request: Request, error: Exception) -> Response:
    """Return the answer to an error of one of the kinds above."""
    if isinstance(error, AugrankError):
        return _augrank_error(request, error)
    if isinstance(error, RequestValidationError):
        return _validation_error(request, error)
    if isinstance(error, HTTPException):
        return _http_error(request, error)
    if isinstance(error, ValueRefused):  # PostgreSQL: such as a NUL in a text
        return _respond(request, BadRequest("a value does not fit the database").to_dict())
    if isinstance(error, IntegrityError):
        return _integrity_error(request, error)
    if isinstance(error, OSError) and error.errno not in DISK_IS_FULL:
        return _internal_error(request, error)
    if isinstance(error, OSError) or SQLITE_FULL in str(error) or POSTGRES_FULL in str(error):
        return _disk_is_full(request, error)
    return _database_error(request, error)


def _augrank_error(request: Request, error: AugrankError) -> Response:
    if isinstance(error, BackendUnavailable | BackendFailed):
        log.error("%s", error)
    elif error.status >= 500:
        return _internal_error(request, error)
    return _respond(request, error.to_dict(), getattr(error, "headers", None))


def _validation_error(request: Request, error: RequestValidationError) -> Response:
    """Say what does not fit, in the words of all other errors."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    problem = BadRequest(
        f"{where} does not fit", expected=first["msg"], got=reprlib.repr(first.get("input"))
    )
    problem.status = 422
    return _respond(request, problem.to_dict())


def _http_error(request: Request, error: HTTPException) -> Response:
    code = "not_found" if error.status_code == 404 else "http"
    message = f"{error.detail}: {request.method} {request.scope['path']}"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_methods(request)))
    return _respond(request, _plain(error.status_code, code, message), headers)


def _methods(request: Request) -> set[str]:
    """Return the methods of a path, which may be those of several routes."""
    return {
        method
        for route in request.app.routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in getattr(route, "methods", None) or ()
    }


def _integrity_error(request: Request, error: IntegrityError) -> Response:
    if not met_a_change(error):
        return _internal_error(request, error)
    log.warning("a request met what was changed meanwhile: %s", type(error.orig).__name__)
    return _respond(request, ChangedMeanwhile.made().to_dict())


def _database_error(request: Request, error: Exception) -> Response:
    log.error("the database does not answer", exc_info=error)
    message = "the database does not answer; what you changed may be lost: look before you repeat"
    return _respond(request, _plain(503, "unavailable", message))


def _disk_is_full(request: Request, error: Exception) -> Response:
    log.error("the disk is full", exc_info=error)
    problem = DiskFull(
        "the service's disk is full: nothing was changed",
        expected="free space for the database and the images",
        got="none",
        remedy="Free some space, and send the request again; nothing has to be started again.",
    )
    return _respond(request, problem.to_dict())


def _internal_error(request: Request, error: Exception) -> Response:
    log.error("internal error", exc_info=error)
    return _respond(request, INTERNAL)


def _plain(status: int, code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message}}


def _respond(
    request: Request, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    response: Response
    wants_html = "text/html" in request.headers.get("accept", "")
    if is_for_programs(request.scope["path"]) or not wants_html:
        response = JSONResponse(body, body["error"]["status"])
    else:
        response = error_page(request, body["error"])
    response.headers.update(headers or {})
    return response
