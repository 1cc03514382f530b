"""The application: routes, errors, and what they share."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from augrank.download.public_addresses import Guard
from augrank.errors import AugrankError, BadRequest
from augrank.images.decode import DecodeLimits
from service.api import batches, health, routes
from service.backends import ClassifyBackend
from service.batches import BatchWorker
from service.body_limit import BodyLimit
from service.classify import ClassifyService
from service.database.session import Database
from service.downloads import DownloadSettings
from service.observability import INTERNAL, observe
from service.settings import ServiceSettings

log = logging.getLogger("augrank.service")


def create_app(
    settings: ServiceSettings, database: Database, classifier: ClassifyBackend
) -> FastAPI:
    """Create the application.

    Args:
        settings: of the service.
        database: up to date.
        classifier: tells labels.
    """
    limits = DecodeLimits(size_bytes=int(settings.max_upload_mb * 2**20))
    service = ClassifyService(database, classifier, limits, settings.max_answers)
    downloads = DownloadSettings(
        per_host=settings.per_host, guard=Guard(allow_loopback=settings.allow_loopback)
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = app.state.batches = BatchWorker(service, downloads, limits)
        worker.start()
        yield
        worker.stop()

    app = FastAPI(
        lifespan=lifespan,
        title="augrank",
        version=version("augrank"),
        summary="Tell labels of images, and let people correct them.",
        openapi_url="/v1/openapi.json",
    )
    app.state.settings, app.state.classify = settings, service
    observe(app)
    app.add_middleware(BodyLimit, limit_bytes=int(settings.max_request_mb * 2**20))
    app.include_router(routes.router)
    app.include_router(batches.router)
    app.include_router(health.router)
    app.add_exception_handler(AugrankError, _augrank_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _database_error)
    return app


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
