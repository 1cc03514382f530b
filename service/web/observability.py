"""Request ids, JSON logs, and metrics of requests."""

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram

log = logging.getLogger("augrank.service")
REQUEST_ID = "X-Request-Id"
MAX_ID = 64  # characters
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
INTERNAL = {
    "error": {"code": "internal", "status": 500, "message": "internal error; the log has it"}
}
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds


def observe(app: FastAPI) -> None:
    """Give every request an id, a line in the log, and its place in the metrics.

    What nothing else has caught is answered here, too: 500, with the id of the log's traceback.
    """
    registry = CollectorRegistry()
    app.state.metrics = registry
    requests = Counter(
        "augrank_requests_total", "Requests.", ("method", "route", "status"), registry=registry
    )
    seconds = Histogram(
        "augrank_request_seconds", "Latency.", ("route",), registry=registry, buckets=BUCKETS
    )

    @app.middleware("http")
    async def follow(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        request_id = request.state.request_id = _id_of(request)
        started = time.perf_counter()
        try:
            response = await call_next(request)
        except Exception:
            log.exception("internal error", extra={"request_id": request_id})
            response = JSONResponse(INTERNAL, 500)
        elapsed = time.perf_counter() - started
        route = getattr(request.scope.get("route"), "path", "(none)")
        method = request.method if request.method in METHODS else "other"
        requests.labels(method, route, response.status_code).inc()
        seconds.labels(route).observe(elapsed)
        response.headers[REQUEST_ID] = request_id
        log.info(
            "request",
            extra={
                "request_id": request_id,
                "method": method,
                "path": request.scope["path"],
                "status": response.status_code,
                "ms": round(1e3 * elapsed, 1),
            },
        )
        return response


def _id_of(request: Request) -> str:
    given = request.headers.get(REQUEST_ID, "")
    if given.isascii() and given.isprintable() and 0 < len(given) <= MAX_ID:
        return given
    return secrets.token_hex(8)


class JsonFormatter(logging.Formatter):
    """A line of JSON for each record."""

    FIELDS = ("request_id", "method", "path", "status", "ms")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in self.FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json() -> None:
    """Write the service's log, and the server's, to standard error as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("augrank.service", "uvicorn", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name != "alembic" else logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True
