"""Who may ask: API keys, and the logins of people at the pages.

No secret is here: of a key and of a session the sha256 alone is kept.
"""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base

PREFIX, ROLE = 12, 20  # characters


class ApiKey(Base):
    """A key and what it allows. Rows stay: a key that is not to be used any more is revoked."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    prefix: Mapped[str] = mapped_column(String(PREFIX), unique=True)  # by which it is found
    digest: Mapped[str] = mapped_column(String(DIGEST))
    who: Mapped[str] = mapped_column(String(NAME))  # its holder
    advertiser: Mapped[str | None] = mapped_column(String(NAME))  # None: all
    role: Mapped[str] = mapped_column(String(ROLE))  # read, correct, admin
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class LoginSession(Base):
    """A person who has logged in with a key: it ends with the key at the latest."""

    __tablename__ = "login_sessions"

    digest: Mapped[str] = mapped_column(String(DIGEST), primary_key=True)  # of the cookie
    key_id: Mapped[int] = mapped_column(ForeignKey("api_keys.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
