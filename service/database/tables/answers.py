"""What models said."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import NAME, Base


class StoredAnswer(Base):
    """What a model said of a file that shows a picture, for all who have sent that file."""

    __tablename__ = "answers"

    id: Mapped[int] = mapped_column(primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"))
    model: Mapped[str] = mapped_column(String(NAME))  # the bundle's digest
    options: Mapped[str] = mapped_column(Text)  # JSON: options, and the sha256 of the file
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    used_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    # Who asked first, in whose share of the room it is; "": from before that was kept.
    advertiser: Mapped[str] = mapped_column(String(NAME), server_default="")
    __table_args__ = (
        UniqueConstraint("picture_id", "model", "options"),
        Index("ix_answers_of_advertiser", "advertiser", "used_at"),
    )
