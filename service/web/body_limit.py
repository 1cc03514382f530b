"""Refuse requests that are too large before they fill memory or disk."""

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RequestTooLarge, UnsupportedText
from service.web.errors import answer
from service.web.paths import LARGE_JSON

# Of JSON, and of forms without files, where no path asks for more: 200 confirmations, or 100 URLs.
SMALL = 256 * 2**10  # bytes
# Files, whose parts or lines are read one after the other.
UPLOADS = ("multipart/form-data", "text/csv", "application/octet-stream")


class BodyLimit:
    """Middleware that counts the bytes of a request's body.

    Args:
        app: the application.
        limit_bytes: of a body.
        json_bytes: of a body of JSON on the paths that need a large one.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, json_bytes: int) -> None:
        self._app, self._limit, self._json = app, limit_bytes, min(json_bytes, limit_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").decode("latin-1").lower()
        limit = self._limit_of(scope["path"], kind)
        if not fits(kind):
            await answer(Request(scope), _other_charset(kind))(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > limit:
            await _refused(scope, limit)(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLargeError
            return message

        async def noticed(message: Message) -> None:
            nonlocal started
            if received > limit and not started:
                return  # what the application makes of the cut body
            started = True
            await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, counted, noticed)
        if received > limit and not started:
            await _refused(scope, limit)(scope, receive, send)

    def _limit_of(self, path: str, kind: str) -> int:
        if kind.startswith(UPLOADS):
            return self._limit
        return self._json if path in LARGE_JSON else min(SMALL, self._json)


def fits(content_type: str) -> bool:
    """Return whether the text of a body is UTF-8, as everything here is."""
    _, _, charset = content_type.partition("charset=")
    name = charset.partition(";")[0].strip(' "')
    return not name or name in ("utf-8", "utf8", "us-ascii")


def _other_charset(kind: str) -> UnsupportedText:
    return UnsupportedText("the text of the request cannot be read", expected="UTF-8", got=kind)


def _refused(scope: Scope, limit: int) -> Response:
    error = RequestTooLarge(
        "the request is too large",
        expected=f"at most {limit:,} bytes",
        got="more",
        remedy="Send less at once.",
    )
    refused = answer(Request(scope), error)
    refused.headers["Connection"] = "close"
    return refused


class _TooLargeError(Exception):
    """The body is larger than allowed."""
