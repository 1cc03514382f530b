"""What models learn from: versions of the dataset, and the fixes that people look through."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base


class Dataset(Base):
    """A version of the dataset: never changed once it is there."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(DIGEST), unique=True)  # sha256 of its rows
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("datasets.id"))
    folder: Mapped[str] = mapped_column(Text)  # relative to the folder of the service
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)  # of rows, by set and class
    last_fix_id: Mapped[int]  # the fixes up to this one have been looked at; 0: none


class ReviewItem(Base):
    """A fix on its way into the dataset, and what the filters and people say of it."""

    __tablename__ = "review_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), index=True)
    fix_id: Mapped[int] = mapped_column(ForeignKey("fixes.id"))
    sha256: Mapped[str] = mapped_column(String(DIGEST))
    advertiser: Mapped[str] = mapped_column(String(NAME))
    label: Mapped[str] = mapped_column(String(NAME))
    value: Mapped[str] = mapped_column(String(NAME))  # what the fix says
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON)  # of the filters
    proposal: Mapped[str] = mapped_column(String(20))  # keep or drop
    told: Mapped[dict[str, Any]] = mapped_column(JSON)  # what the live model says of it
    decision: Mapped[str | None] = mapped_column(String(20))  # keep, drop, relabel, crop
    relabelled: Mapped[str | None] = mapped_column(String(NAME))  # the right class
    crop: Mapped[list[float] | None] = mapped_column(  # left, top, right, bottom in 0 to 1
        JSON(none_as_null=True)
    )
    who: Mapped[str] = mapped_column(String(NAME))
    at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # of the decision
    taken: Mapped[bool]  # a version of the dataset has settled it; else it is collected again
    __table_args__ = (UniqueConstraint("job_id", "fix_id"),)
