"""Find out who sends a request; what the database said is remembered for less than a second."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cachetools import LRUCache, TTLCache
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from service.access import keys, sessions
from service.access.identity import OPEN, Authentication, no_credentials
from service.access.token_buckets import TokenBuckets
from service.database.session import Database
from service.database.tables import ApiKey
from service.errors import TooManyRequests, Unauthorized

log = logging.getLogger("augrank.service")
REMEMBERED_S = 0.9  # a key that is made or revoked elsewhere counts within a second
MAX_REMEMBERED = 10_000
NOTE_AGAIN_S = 60.0  # after a use could not be noted
FAILURES_PER_S, FAILURES_AT_ONCE = 10, 100  # attempts of one address that do not hold
Found = TypeVar("Found")


class Authenticator:
    """Tells who sends a request. Thread-safe.

    An address from which many keys or sessions were tried that do not hold is told to wait before
    the database is asked. What has held since the start is not kept waiting for it.

    Args:
        database: with keys and sessions.
        may_be_open: whether anybody may ask as long as there is no key.
    """

    def __init__(self, database: Database, may_be_open: bool) -> None:
        self._database, self._may_be_open = database, may_be_open
        self._known: TTLCache[str, Authentication] = TTLCache(MAX_REMEMBERED, REMEMBERED_S)
        self._noted: LRUCache[int, float] = LRUCache(MAX_REMEMBERED)
        self._open, self._open_until = may_be_open, 0.0
        self._failures = TokenBuckets(FAILURES_PER_S, FAILURES_AT_ONCE)  # by address
        self._held: LRUCache[str, bool] = LRUCache(MAX_REMEMBERED)  # digests of what once held
        self._lock = threading.Lock()

    async def authenticate(self, request: Request) -> Authentication:
        """Return who sends a request.

        Raises:
            SQLAlchemyError: the database does not answer.
            TooManyRequests: too many from there were of nobody.
        """
        address = request.client.host if request.client else ""
        authorization = request.headers.get("authorization")
        session_id = request.cookies.get(sessions.COOKIE)
        if authorization is not None:
            scheme, _, given = authorization.partition(" ")
            secret = given.strip() if scheme.lower() == "bearer" else ""
            return await self._remembered(f"key {secret}", lambda: self._by_key(secret), address)
        if session_id:
            return await self._remembered(
                f"session {session_id}", lambda: self._by_session(session_id), address
            )
        refusal = no_credentials()
        known = self._if_known(refusal)
        return known if known is not None else await run_in_threadpool(self._without, refusal)

    def forget(self, session_id: str) -> None:
        """Ask the database about a session the next time: it has just ended."""
        with self._lock:
            self._known.pop(keys.digest_of(f"session {session_id}"), None)

    async def _remembered(
        self, credential: str, look_up: Callable[[], Authentication], address: str
    ) -> Authentication:
        digest = keys.digest_of(credential)  # no secret stays in memory
        with self._lock:
            known: Authentication | None = self._known.get(digest)
            has_held = digest in self._held
        if known is not None:
            return known
        if not has_held and (wait_s := self._failures.wait_s(address)):
            raise _too_many_failures(wait_s)
        found = await run_in_threadpool(look_up)
        if found.identity is None:
            self._failures.charge(address)
        with self._lock:
            if found.key_id is not None:
                self._known[digest], self._held[digest] = found, True
            else:
                self._held.pop(digest, None)
        return found

    def _by_key(self, secret: str) -> Authentication:
        return self._by(lambda session: keys.find_key(session, secret), "")

    def _by_session(self, session_id: str) -> Authentication:
        return self._by(
            lambda session: sessions.key_of_session(session, session_id),
            sessions.csrf_token_of(session_id),
        )

    def _by(self, find: Callable[[Session], ApiKey], csrf_token: str) -> Authentication:
        try:
            with self._database.reads() as session:
                row = find(session)
                found = Authentication(keys.identity_of_key(row), row.id, csrf_token)
                is_to_be_noted = keys.use_is_to_be_noted(row)
        except Unauthorized as refusal:
            return self._without(refusal)
        if is_to_be_noted:
            self._note_use(row.id)
        return found

    def _without(self, refusal: Unauthorized) -> Authentication:
        """Return who sends a request without a key that holds: anybody, if there are no keys."""
        known = self._if_known(refusal)
        if known is not None:
            return known
        until = time.monotonic() + REMEMBERED_S
        with self._database.reads() as session:
            is_open = not keys.any_key(session)
        with self._lock:
            self._open, self._open_until = is_open, until
        return OPEN if is_open else Authentication(None, refusal=refusal)

    def _if_known(self, refusal: Unauthorized) -> Authentication | None:
        """Do the same without the database; None: it has to be asked."""
        with self._lock:
            if self._may_be_open and time.monotonic() >= self._open_until:
                return None
            return OPEN if self._open else Authentication(None, refusal=refusal)

    def _note_use(self, key_id: int) -> None:
        """Note that a key is used; a database that cannot be written keeps nobody from reading."""
        with self._lock:
            if time.monotonic() < self._noted.get(key_id, 0.0):
                return
            self._noted[key_id] = time.monotonic() + NOTE_AGAIN_S
        try:
            with self._database.writes() as session:
                keys.note_use(session, key_id)
        except SQLAlchemyError:
            log.warning("the use of key %d could not be noted", key_id, exc_info=True)


def _too_many_failures(wait_s: int) -> TooManyRequests:
    return TooManyRequests(
        "too many requests from here had no key or login that holds",
        expected=f"at most {FAILURES_PER_S} a second, {FAILURES_AT_ONCE} at once",
        remedy=f"Wait for {wait_s} s, and send a key that holds.",
        retry_after_s=wait_s,
    )
