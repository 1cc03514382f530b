"""API keys: create, find, revoke and list them.

A key is ``aug_PREFIX_SECRET``. The prefix is shown in lists and finds the row; the secret has 256
random bits, is shown once, and only the sha256 of the whole key is kept. Because the secret is
random, it needs no slow hash.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from service.access.identity import Identity, Role
from service.database.tables import ApiKey
from service.errors import NotFound, Unauthorized

SECRET_BYTES, PREFIX_BYTES = 32, 6
PATTERN = re.compile(r"aug_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
NOTED_EVERY = timedelta(hours=1)  # a use is noted: reading does not write otherwise
REMEDY = "Ask an administrator for another one: python -m service keys add."


@dataclass(frozen=True)
class NewKey:
    """What a key is to be.

    Attributes:
        who: its holder.
        advertiser: whose data it opens; None: those of all.
        role: what it allows.
        expires_at: when it ends; None: when it is revoked.
    """

    who: str
    advertiser: str | None
    role: Role
    expires_at: datetime | None = None


def create_key(session: Session, new: NewKey) -> tuple[ApiKey, str]:
    """Add a key; return its row, and the key itself, which is not kept anywhere."""
    prefix = secrets.token_hex(PREFIX_BYTES)
    key = f"aug_{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}"
    row = ApiKey(
        prefix=prefix,
        digest=digest_of(key),
        who=new.who,
        advertiser=new.advertiser,
        role=new.role.name.lower(),
        created_at=datetime.now(UTC),
        expires_at=new.expires_at,
    )
    session.add(row)
    session.flush()
    return row, key


def find_key(session: Session, key: str) -> ApiKey:
    """Return the row of a key that holds.

    Raises:
        Unauthorized: it is unknown, revoked, or has expired.
    """
    form = PATTERN.fullmatch(key)
    row = session.scalar(select(ApiKey).where(ApiKey.prefix == form[1])) if form else None
    if row is None or not hmac.compare_digest(row.digest, digest_of(key)):
        raise Unauthorized(
            "this key is not known", expected="a key as keys add has printed it", remedy=REMEDY
        )
    check_key(row)
    return row


def check_key(row: ApiKey) -> None:
    """Check that a key still holds.

    Raises:
        Unauthorized: it was revoked, or has expired.
    """
    if row.revoked_at is not None:
        raise Unauthorized(f"this key was revoked on {row.revoked_at:%Y-%m-%d}", remedy=REMEDY)
    if row.expires_at is not None and row.expires_at <= datetime.now(UTC):
        raise Unauthorized(f"this key expired on {row.expires_at:%Y-%m-%d}", remedy=REMEDY)


def identity_of_key(row: ApiKey) -> Identity:
    """Return who holds a key, and what it allows."""
    return Identity(row.who, row.advertiser, Role[row.role.upper()])


def use_is_to_be_noted(row: ApiKey) -> bool:
    """Return whether the last use that was noted is long ago."""
    return row.last_used_at is None or row.last_used_at < datetime.now(UTC) - NOTED_EVERY


def note_use(session: Session, key_id: int) -> None:
    """Note that a key is used now, unless another process has just done so."""
    now = datetime.now(UTC)
    long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - NOTED_EVERY)
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id, long_ago).values(last_used_at=now),
        execution_options={"synchronize_session": False},
    )


def revoke_key(session: Session, key_id: int) -> ApiKey:
    """Revoke a key; one that is revoked already stays as it is.

    Raises:
        NotFound: there is no such key.
    """
    row = session.get(ApiKey, key_id, with_for_update=True)
    if row is None:
        raise NotFound(
            "there is no such key",
            expected="an ID of python -m service keys list",
            got=str(key_id),
        )
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
    return row


def list_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, the oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def any_key(session: Session) -> bool:
    """Return whether there is a key, be it revoked: then nobody gets in without one."""
    return bool(session.scalar(select(exists().select_from(ApiKey))))


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
