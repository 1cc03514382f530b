"""Limit how often one caller may ask, so that others are answered, too."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.identity import authentication_of
from service.access.token_buckets import TokenBuckets
from service.errors import TooManyRequests
from service.web.errors import answer
from service.web.paths import METRICS, is_free


class RateLimit:
    """Middleware with a token bucket for each key; without a key, for each address.

    Args:
        app: the application.
        per_s: requests that one caller may send in the long run; 0: any number.
        burst: requests that one caller may send at once.
    """

    def __init__(self, app: ASGIApp, per_s: float, burst: float) -> None:
        self._app, self._per_s, self._burst = app, per_s, burst
        self._buckets = TokenBuckets(per_s, burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and not is_free(scope["path"]) and scope["path"] != METRICS:
            request = Request(scope)
            wait_s = self._buckets.take(_caller(request))
            if wait_s:
                error = TooManyRequests(
                    "too many requests",
                    expected=f"at most {self._per_s:g} a second, {self._burst:g} at once",
                    remedy=f"Wait for {wait_s} s, or send several images in a request.",
                    retry_after_s=wait_s,
                )
                await answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _caller(request: Request) -> int | str:
    key_id = authentication_of(request).key_id
    if key_id is not None:
        return key_id
    return request.client.host if request.client else ""
