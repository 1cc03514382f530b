"""What all tables share."""

from sqlalchemy.orm import DeclarativeBase

NAME, DIGEST = 200, 64  # characters


class Base(DeclarativeBase):
    """All tables."""
