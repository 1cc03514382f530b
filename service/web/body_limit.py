"""Refuse requests that are too large before they fill memory or disk."""

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import RequestTooLarge
from service.web.errors import answer


class BodyLimit:
    """Middleware that counts the bytes of a request's body.

    Args:
        app: the application.
        limit_bytes: of a body.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app, self._limit = app, limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless it is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            await self._refused(scope)(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise _TooLargeError
            return message

        async def noticed(message: Message) -> None:
            nonlocal started
            if received > self._limit and not started:
                return  # what the application makes of the cut body
            started = True
            await send(message)

        with suppress(_TooLargeError):
            await self._app(scope, counted, noticed)
        if received > self._limit and not started:
            await self._refused(scope)(scope, receive, send)

    def _refused(self, scope: Scope) -> Response:
        error = RequestTooLarge(
            "the request is too large",
            expected=f"at most {self._limit:,} bytes",
            got="more",
            remedy="Send fewer images at once.",
        )
        refused = answer(Request(scope), error)
        refused.headers["Connection"] = "close"
        return refused


class _TooLargeError(Exception):
    """The body is larger than allowed."""
