"""Request ids, JSON logs, and metrics of requests."""

import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram

log = logging.getLogger("augrank.service")
REQUEST_ID = "X-Request-Id"
MAX_ID = 64  # characters
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds


def observe(app: FastAPI) -> None:
    """Give every request an id, a line in the log, and its place in the metrics."""
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
        given = request.headers.get(REQUEST_ID, "")
        known = (
            given if given.isascii() and given.isprintable() and 0 < len(given) <= MAX_ID else ""
        )
        request_id = request.state.request_id = known or secrets.token_hex(8)
        started = time.perf_counter()
        response = await call_next(request)
        elapsed = time.perf_counter() - started
        route = getattr(request.scope.get("route"), "path", "(none)")
        requests.labels(request.method, route, response.status_code).inc()
        seconds.labels(route).observe(elapsed)
        response.headers[REQUEST_ID] = request_id
        log.info(
            "request",
            extra={
                "request_id": request_id,
                "method": request.method,
                "path": request.url.path,
                "status": response.status_code,
                "ms": round(1e3 * elapsed, 1),
            },
        )
        return response


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
