"""Find out who sends a request, and refuse nobody's, before a body is read.

Every path needs a key unless it is listed in ``paths.py``: a new route is closed by default. What
a key allows is said by the route's dependency (``access/identity.py``).
"""

from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from augrank.errors import AugrankError, BadRequest
from service.access.authenticator import Authenticator
from service.access.identity import authentication_of, no_credentials
from service.access.origin import SAFE_METHODS, host_of, is_cross_site, is_loopback, is_remote
from service.errors import Forbidden, TooManyRequests
from service.web.errors import DATABASE_ERRORS, answer
from service.web.paths import LOGIN, is_for_programs, is_free


class Authentication:
    """Middleware that puts into ``request.state`` who sends a request.

    An address that has tried many keys that do not hold is refused here, without another look-up.

    Args:
        app: the application.
        authenticator: knows keys and sessions.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app, self._authenticator = app, authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with ``state.authentication`` and ``state.csrf_token``."""
        if scope["type"] == "http" and not is_free(scope["path"]):
            request = Request(scope)
            try:
                found = await self._authenticator.authenticate(request)
            except (TooManyRequests, *DATABASE_ERRORS) as error:
                await answer(request, error)(scope, receive, send)
                return
            request.state.authentication, request.state.csrf_token = found, found.csrf_token
        await self._app(scope, receive, send)


class Admission:
    """Middleware that refuses requests of nobody, and of other web sites.

    Args:
        app: the application.
        hosts: names that the service has, beside those of loopback, while it has no keys.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] = ()) -> None:
        self._app, self._hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and not is_free(scope["path"]):
            request = Request(scope)
            refused = self._refused(request)
            if refused is not None:
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refused(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused."""
        found = authentication_of(request)
        if found.is_open and (error := self._not_from_here(request)):
            return answer(request, error)
        path = request.scope["path"]
        # No other site can send a key; user names and passwords a browser adds by itself.
        has_header = request.headers.get("authorization", "").lower().startswith("bearer ")
        may_follow = not is_for_programs(path)
        if not has_header and is_cross_site(request.method, request.headers, may_follow=may_follow):
            return answer(request, _cross_site(request))
        if not host_of(request.headers.get("host", "")):
            return answer(request, BadRequest("Host does not fit", expected="the service's name"))
        if found.identity is not None or path == LOGIN:
            return None
        if has_header or is_for_programs(path):
            return answer(request, found.refusal or no_credentials())
        return _to_login(request)

    def _not_from_here(self, request: Request) -> AugrankError | None:
        """Return the error of a request to a service without keys that is not of this machine."""
        host = host_of(request.headers.get("host", ""))
        client = request.client.host if request.client else ""
        if not (is_loopback(host) or host in self._hosts):
            expected, got = "a request to 127.0.0.1 or localhost", f"one to {host or 'no host'}"
        elif is_remote(client):
            expected, got = "a request of this machine", f"one of {client}"
        else:
            return None
        return Forbidden(
            "without keys the service answers this machine alone",
            expected=expected,
            got=got,
            remedy="Make a key: python -m service keys add.",
        )


def _cross_site(request: Request) -> AugrankError:
    return Forbidden(
        "another web site may not use the service through your browser",
        expected="a request of its own pages, or with a key",
        got=request.headers.get("origin") or request.headers.get("sec-fetch-site", ""),
    )


def _to_login(request: Request) -> Response:
    """Send a person to the login, and back to the page afterwards."""
    path, query = request.scope["path"], request.scope["query_string"].decode("latin-1")
    page = f"{path}?{query}" if query else path
    after = page if request.method in SAFE_METHODS else "/"
    return RedirectResponse(f"{LOGIN}?next={quote(after, safe='/')}", 303)
