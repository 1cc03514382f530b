"""Work that goes on after its request was answered."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base


class Job(Base):
    """Work that goes on after its request was answered."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))  # which worker takes it: batch, retrain
    advertiser: Mapped[str] = mapped_column(String(NAME), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)  # waiting, running, done, failed
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    total: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    tries: Mapped[int]  # how often a worker failed at it
    worker: Mapped[str | None] = mapped_column(String(64))  # that works on it
    seen_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # of the worker
    error: Mapped[str] = mapped_column(Text)


class JobItem(Base):
    """One URL of a batch."""

    __tablename__ = "job_items"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str | None] = mapped_column(String(DIGEST))  # once it is done
    error: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # why it was skipped


class JobEvent(Base):
    """A line of a job's log."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    text: Mapped[str] = mapped_column(Text)
