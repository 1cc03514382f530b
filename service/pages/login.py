"""Log in with a key, and log out."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from augrank.errors import RequestError
from service.access import keys, sessions
from service.access.identity import authentication_of
from service.errors import TooManyRequests, Unauthorized
from service.pages.access import PageReader
from service.pages.render import render
from service.parts import parts_of

LOGIN, FIRST_PAGE = "/login", "/"
MAX_KEY = 200  # characters that are looked at
router = APIRouter(include_in_schema=False)


@router.get(LOGIN, response_class=HTMLResponse)
def ask(request: Request, next: str = FIRST_PAGE) -> Response:
    """Ask for a key; who is known already goes on."""
    known = authentication_of(request)
    if known.identity is not None:
        return RedirectResponse(local_path(next), 303)
    had_session = sessions.COOKIE in request.cookies
    return _form(request, next, known.refusal if had_session else None, 200)


@router.post(LOGIN, response_class=HTMLResponse)
def log_in(
    request: Request,
    key: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = FIRST_PAGE,
) -> Response:
    """Log in with a key, and go on to the page that was asked for."""
    parts = parts_of(request)
    if authentication_of(request).is_open:
        return RedirectResponse(local_path(next), 303)
    try:
        key_id = _id_of(request, key.strip()[:MAX_KEY])
    except (Unauthorized, TooManyRequests) as error:
        return _form(request, next, error, error.status)
    with parts.database.writes() as session:
        session_id = sessions.open_session(session, key_id)
        sessions.close_session(session, request.cookies.get(sessions.COOKIE, ""))
    response = RedirectResponse(local_path(next), 303)
    response.set_cookie(
        sessions.COOKIE,
        session_id,
        max_age=int(sessions.LASTS.total_seconds()),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",  # a link in a mail opens its page, without another login
    )
    return response


@router.post("/logout", response_class=HTMLResponse)
def log_out(request: Request, identity: PageReader) -> Response:
    """End a session, here and in the browser."""
    parts, session_id = parts_of(request), request.cookies.get(sessions.COOKIE, "")
    with parts.database.writes() as session:
        sessions.close_session(session, session_id)
    parts.authenticator.forget(session_id)
    response = RedirectResponse(LOGIN, 303)
    response.delete_cookie(sessions.COOKIE, httponly=True, samesite="lax")
    return response


def local_path(address: str) -> str:
    """Return an address if it is a page here, else the first page: never another site.

    Browsers take ``//host`` and ``/\\host`` for another host, and leave out control characters.
    """
    plain = address.isprintable() and "\\" not in address and address.startswith("/")
    try:
        parts = urlsplit(address)
    except ValueError:
        return FIRST_PAGE
    if not plain or address.startswith("//") or parts.scheme or parts.netloc:
        return FIRST_PAGE
    return FIRST_PAGE if parts.path == LOGIN else address


def _id_of(request: Request, key: str) -> int:
    """Return the id of a key that somebody logs in with.

    Raises:
        TooManyRequests: several were tried from there.
        Unauthorized: the key does not hold.
    """
    parts = parts_of(request)
    wait_s = parts.login_attempts.take(request.client.host if request.client else "")
    if wait_s:
        raise TooManyRequests(
            "too many logins were tried from here",
            expected="a few in a minute",
            remedy=f"Wait for {wait_s} s.",
            retry_after_s=wait_s,
        )
    with parts.database.reads() as session:
        return keys.find_key(session, key).id


def _form(request: Request, after: str, error: RequestError | None, status: int) -> HTMLResponse:
    response = render(request, "login.html", status=status, error=error, after=local_path(after))
    response.headers.update(getattr(error, "headers", {}) if status != 200 else {})
    return response
