"""Logins of people: a random session id in a cookie, its sha256 in the database.

A session is made with a key, and ends with it, after 12 hours, or by a logout.
"""

import hmac
import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.access.keys import check_key, digest_of
from service.database.tables import ApiKey, LoginSession
from service.errors import Unauthorized

COOKIE = "augrank_session"
SECRET_BYTES = 32
LASTS = timedelta(hours=12)


def open_session(session: Session, key_id: int) -> str:
    """Add a session of a key; return its id for the cookie. Sessions that ended are removed."""
    now = datetime.now(UTC)
    session.execute(delete(LoginSession).where(LoginSession.expires_at < now))
    session_id = secrets.token_urlsafe(SECRET_BYTES)
    session.add(
        LoginSession(
            digest=digest_of(session_id), key_id=key_id, created_at=now, expires_at=now + LASTS
        )
    )
    return session_id


def key_of_session(session: Session, session_id: str) -> ApiKey:
    """Return the key that a session was made with.

    Raises:
        Unauthorized: the session has ended, or its key does not hold any more.
    """
    row = session.get(LoginSession, digest_of(session_id))
    if row is None or row.expires_at <= datetime.now(UTC):
        raise Unauthorized("your login has ended", remedy="Log in again: /login.")
    key = session.get_one(ApiKey, row.key_id)
    check_key(key)
    return key


def close_session(session: Session, session_id: str) -> None:
    """Remove a session; it may be gone already."""
    session.execute(delete(LoginSession).where(LoginSession.digest == digest_of(session_id)))


def csrf_token_of(session_id: str) -> str:
    """Return what forms and scripts of a session send along, and other sites cannot know."""
    return hmac.digest(session_id.encode(), b"csrf", "sha256").hex()
