"""Request ids, JSON logs, and metrics of requests.

Whatever is logged while a request is answered has its id, also by threads that it waits for.
"""

import json
import logging
import secrets
import time
from contextvars import ContextVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("augrank.service")
REQUEST_ID = "X-Request-Id"
MAX_ID = 64  # characters
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
INTERNAL = {
    "error": {"code": "internal", "status": 500, "message": "internal error; the log has it"}
}
_answering: ContextVar[str] = ContextVar("request_id")  # the id of the request
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds


class Observation:
    """Middleware: gives every request an id, a line in the log, and its place in the metrics.

    What nothing else has caught is answered here, too: 500, with the id of the log's traceback.

    Args:
        app: the application.
        registry: of the metrics.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "augrank_requests_total", "Requests.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "augrank_request_seconds", "Latency.", ("route",), registry=registry, buckets=BUCKETS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and note it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, status = _id_of(Headers(scope=scope)), 0
        scope.setdefault("state", {})["request_id"] = request_id
        started, outside = time.perf_counter(), _answering.set(request_id)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            log.exception("internal error")
            if status:  # half of an answer was sent: the connection must end
                raise
            await JSONResponse(INTERNAL, 500)(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - started)
            _answering.reset(outside)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "(none)")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)
        log.info(
            "request",
            extra={
                "method": method,
                "path": scope["path"],
                "status": status,
                "ms": round(1e3 * seconds, 1),
            },
        )


def _id_of(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    if given.isascii() and given.isprintable() and 0 < len(given) <= MAX_ID:
        return given
    return secrets.token_hex(8)


class JsonFormatter(logging.Formatter):
    """A line of JSON for each record; it is made in the thread that logs."""

    FIELDS = ("method", "path", "status", "ms")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := _answering.get(None)) is not None:
            line["request_id"] = request_id
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
