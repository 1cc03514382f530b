"""Every error is JSON of one form, and no traceback leaves the process."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from augrank.errors import AugrankError, BadRequest
from service.web.observability import INTERNAL

log = logging.getLogger("augrank.service")


def handle_errors(app: FastAPI) -> None:
    """Let an app answer errors."""
    app.add_exception_handler(AugrankError, _augrank_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _database_error)


def _augrank_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AugrankError)
    if error.status >= 500:
        return _internal_error(request, error)
    return JSONResponse(error.to_dict(), error.status)


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    """Say what does not fit, in the words of all other errors."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    problem = BadRequest(
        f"{where} does not fit", expected=first["msg"], got=repr(first.get("input"))
    )
    return JSONResponse(problem.to_dict(), 422)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "http"
    return _plain(error.status_code, code, f"{error.detail}: {request.method} {request.url.path}")


def _database_error(request: Request, error: Exception) -> JSONResponse:
    log.error("the database does not answer", exc_info=error)
    message = "the database does not answer; what you changed may be lost: look before you repeat"
    return _plain(503, "unavailable", message)


def _internal_error(request: Request, error: Exception) -> JSONResponse:
    log.error("internal error", exc_info=error)
    return JSONResponse(INTERNAL, 500)


def _plain(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "status": status, "message": message}}, status)
