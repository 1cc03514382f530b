"""Who asks, and what they may do.

Without keys the service listens on its own machine alone, and whoever is there may do everything.
With keys, a request is identified by ``Authorization: Bearer KEY``, or by the session of somebody
who has logged in with one. ``web/authentication.py`` finds out before a request's body is read;
the dependencies here say which role a route needs.
"""

import hmac
from dataclasses import dataclass
from enum import IntEnum

from fastapi import Request

from augrank.errors import BadRequest
from service.access.origin import SAFE_METHODS
from service.errors import Forbidden, NotFound, Unauthorized

CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"


class Role(IntEnum):
    """What a key allows; each role includes those before."""

    READ = 1  # ask, and see what was answered
    CORRECT = 2  # fix labels, report outcomes
    ADMIN = 3  # keys, retraining, promotion


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        who: the name of the key's holder; empty without keys.
        advertiser: that the key is for; None: all.
        role: what it allows.
    """

    who: str
    advertiser: str | None
    role: Role

    def check(self, advertiser: str) -> None:
        """Check that data of an advertiser may be seen.

        Raises:
            NotFound: they are another's.
        """
        if self.advertiser is not None and advertiser != self.advertiser:
            raise NotFound(
                f"there is no advertiser {advertiser!r} for this key",
                expected=self.advertiser,
                got=advertiser,
            )

    def named(self, who: str | None) -> str:
        """Return the name that a history keeps: the key's holder; without keys, what was given.

        Raises:
            BadRequest: nobody is named.
        """
        name = self.who or who
        if not name:
            raise BadRequest(
                "who does not fit", expected="your name: without keys nobody knows it", got="none"
            )
        return name


ANYBODY = Identity("", None, Role.ADMIN)


@dataclass(frozen=True)
class Authentication:
    """Who sent a request, as far as is known.

    Attributes:
        identity: None: nobody that is known.
        key_id: of the key, or of the key that the session was made with; None: without one.
        csrf_token: of the session that a cookie names; empty without a cookie.
        refusal: why ``identity`` is None.
    """

    identity: Identity | None
    key_id: int | None = None
    csrf_token: str = ""
    refusal: Unauthorized | None = None

    @property
    def is_open(self) -> bool:
        """Whether the service has no keys."""
        return self.identity is not None and self.key_id is None


OPEN = Authentication(ANYBODY)


def authentication_of(request: Request) -> Authentication:
    """Return what is known of who sent a request."""
    found: Authentication | None = getattr(request.state, "authentication", None)
    return found or Authentication(None)


def identity_of(request: Request) -> Identity:
    """Return who asks.

    Raises:
        Unauthorized: that is not known.
    """
    found = authentication_of(request)
    if found.identity is None:
        raise found.refusal or no_credentials()
    return found.identity


def no_credentials() -> Unauthorized:
    """Return the error of a request that says nothing of who sends it."""
    return Unauthorized(
        "this service needs a key",
        expected="the header Authorization: Bearer KEY, or a login at /login",
        got="none",
        remedy="Ask an administrator for a key: python -m service keys add.",
    )


async def reader(request: Request) -> Identity:
    """Let those pass who may read: a dependency of routes."""
    return await _at_least(request, Role.READ)


async def corrector(request: Request) -> Identity:
    """Let those pass who may correct: a dependency of routes."""
    return await _at_least(request, Role.CORRECT)


async def admin(request: Request) -> Identity:
    """Let those pass who may do everything: a dependency of routes."""
    return await _at_least(request, Role.ADMIN)


async def _at_least(request: Request, role: Role) -> Identity:
    identity = identity_of(request)
    await _check_csrf(request)
    if identity.role < role:
        raise Forbidden(
            "this key does not allow it",
            expected=f"the role {role.name.lower()}",
            got=identity.role.name.lower(),
            remedy="Ask an administrator for another key.",
        )
    return identity


async def _check_csrf(request: Request) -> None:
    """Check that a change comes from a page of ours, if a cookie alone says who asks.

    Raises:
        Forbidden: another web site may have sent it.
    """
    token = authentication_of(request).csrf_token
    if not token or request.method in SAFE_METHODS:
        return
    given = request.headers.get(CSRF_HEADER)
    if given is None:
        field = (await request.form()).get(CSRF_FIELD)
        given = field if isinstance(field, str) else ""
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise Forbidden(
            "this does not come from a page of your login",
            expected=f"the header {CSRF_HEADER}, or the field {CSRF_FIELD}, of a page",
            got="another" if given else "none",
            remedy="Open the page again, and repeat.",
        )
