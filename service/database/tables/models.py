"""Models, their promotions, and what they have answered."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base

IS_LIVE = text("state = 'live'")


class Model(Base):
    """A bundle that the service may answer with. At most one of a task is live."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(NAME))
    digest: Mapped[str] = mapped_column(String(DIGEST))  # sha256 of its bundle.json
    path: Mapped[str] = mapped_column(Text)  # of the bundle, in the service's folder; "": removed
    state: Mapped[str] = mapped_column(String(20))  # candidate, live, retired, rejected
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    parent: Mapped[str | None] = mapped_column(String(DIGEST))  # digest of the model it came from
    dataset: Mapped[str | None] = mapped_column(String(DIGEST))  # that it was trained on
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    alarm_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # since it is live
    __table_args__ = (
        UniqueConstraint("task", "digest"),
        Index(
            "ix_models_live", "task", unique=True, sqlite_where=IS_LIVE, postgresql_where=IS_LIVE
        ),
    )


class Promotion(Base):
    """The history of what was live: rows are added, never changed."""

    __tablename__ = "promotions"

    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(String(20), index=True)
    before_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))  # None: the first one
    after_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    kind: Mapped[str] = mapped_column(String(20))  # promote, rollback
    who: Mapped[str] = mapped_column(String(NAME))
    why: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Placement(Base):
    """Where the models of a task answer, as the service that was started last has written."""

    __tablename__ = "placements"

    task: Mapped[str] = mapped_column(String(20), primary_key=True)
    server: Mapped[str] = mapped_column(Text)  # as in --backend; "": the service's process
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Exposure(Base):
    """That an advertiser got a model's answer for a picture, and when first."""

    __tablename__ = "exposures"

    model: Mapped[str] = mapped_column(String(DIGEST), primary_key=True)  # digest
    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), primary_key=True, index=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    day: Mapped[str] = mapped_column(String(10))  # of ``at``, UTC: 2026-11-29
    is_new: Mapped[bool]  # no other model had answered this advertiser for this picture
    __table_args__ = (Index("ix_exposures_of_model", "model", "at"),)


class PastExposure(Base):
    """An exposure of a picture that was forgotten, which nobody had corrected: it still counts."""

    __tablename__ = "past_exposures"

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(DIGEST))
    advertiser: Mapped[str] = mapped_column(String(NAME))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    day: Mapped[str] = mapped_column(String(10))
    __table_args__ = (Index("ix_past_exposures_of_model", "model", "at"),)
