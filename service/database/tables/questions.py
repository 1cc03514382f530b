"""What was asked of a recommender: the history of an advertiser, and links that are shared."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, DateTime, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base

TOKEN = 32  # characters


class Question(Base):
    """A recommendation that an advertiser asked for; asked again, it is the same row."""

    __tablename__ = "questions"

    token: Mapped[str] = mapped_column(String(TOKEN), primary_key=True)  # random, of the link
    digest: Mapped[str] = mapped_column(String(DIGEST), unique=True)  # of what follows
    advertiser: Mapped[str] = mapped_column(String(NAME))
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"), index=True)
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    who: Mapped[str] = mapped_column(String(NAME))  # asked last; empty without keys
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))  # asked last
    __table_args__ = (Index("ix_questions_of_advertiser", "advertiser", "at"),)
