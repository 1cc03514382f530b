"""Who asks, and what they may do.

Without keys the service listens on its own machine alone, and whoever is there may do everything.
"""

from dataclasses import dataclass
from enum import IntEnum

from fastapi import Request

from augrank.errors import BadRequest
from service.errors import Forbidden, NotFound


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


def identity_of(request: Request) -> Identity:
    """Return who asks."""
    return ANYBODY


def reader(request: Request) -> Identity:
    """Let those pass who may read: a dependency of routes."""
    return _at_least(request, Role.READ)


def corrector(request: Request) -> Identity:
    """Let those pass who may correct: a dependency of routes."""
    return _at_least(request, Role.CORRECT)


def admin(request: Request) -> Identity:
    """Let those pass who may do everything: a dependency of routes."""
    return _at_least(request, Role.ADMIN)


def _at_least(request: Request, role: Role) -> Identity:
    identity = identity_of(request)
    if identity.role < role:
        raise Forbidden(
            "this key does not allow it",
            expected=f"the role {role.name.lower()}",
            got=identity.role.name.lower(),
            remedy="Ask an administrator for another key.",
        )
    return identity
