"""Which candidates were handed out, and what came of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base

KEY = 32  # characters of an assignment's public id


class Assignment(Base):
    """A candidate that was handed out, with all that is needed to draw it again."""

    __tablename__ = "assignments"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY), unique=True)  # random: nobody guesses another's
    advertiser: Mapped[str] = mapped_column(String(NAME))
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"), index=True)
    model: Mapped[str] = mapped_column(String(NAME))  # the bundle's digest
    target: Mapped[str] = mapped_column(String(NAME))
    direction: Mapped[str] = mapped_column(String(20))  # maximize, minimize
    context: Mapped[dict[str, Any]] = mapped_column(JSON)
    policy: Mapped[str] = mapped_column(String(20))
    floor: Mapped[float] = mapped_column(Double)
    version: Mapped[int]  # of the policies' code
    seed: Mapped[int] = mapped_column(BigInteger)
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSON)  # in the answer's order
    recommended: Mapped[str] = mapped_column(String(NAME))  # the verdict's choice
    choice: Mapped[str] = mapped_column(String(NAME))
    propensity: Mapped[float] = mapped_column(Double)
    unit: Mapped[str | None] = mapped_column(String(NAME))  # who gets it; None: nobody comes again
    scope: Mapped[str] = mapped_column(String(DIGEST))  # sha256 of image, target and context
    who: Mapped[str] = mapped_column(String(NAME))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    __table_args__ = (
        UniqueConstraint("advertiser", "unit", "scope"),
        Index("ix_assignments_of_advertiser", "advertiser", "id"),
    )


class Outcome(Base):
    """A report of what came of an assignment: rows are added, never changed."""

    __tablename__ = "outcomes"

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"))
    target: Mapped[str] = mapped_column(String(NAME))
    report: Mapped[str] = mapped_column(String(NAME))  # the reporter's own id
    successes: Mapped[int] = mapped_column(Integer)
    trials: Mapped[int] = mapped_column(Integer)
    replaces: Mapped[str | None] = mapped_column(String(NAME))  # a report that was wrong
    who: Mapped[str] = mapped_column(String(NAME))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    __table_args__ = (
        UniqueConstraint("assignment_id", "target", "report"),
        UniqueConstraint("assignment_id", "target", "replaces"),
    )
