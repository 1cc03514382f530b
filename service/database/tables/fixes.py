"""What people corrected and configured."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base


class Fix(Base):
    """The history of corrections: rows are added, never changed."""

    __tablename__ = "fixes"

    id: Mapped[int] = mapped_column(primary_key=True)
    advertiser: Mapped[str] = mapped_column(String(NAME))
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), index=True)
    sha256: Mapped[str] = mapped_column(String(DIGEST))  # the image that was looked at
    label: Mapped[str] = mapped_column(String(NAME))
    before: Mapped[str | None] = mapped_column(String(NAME))  # the fix until then; None: none
    after: Mapped[str | None] = mapped_column(String(NAME))  # None: the model decides again
    model_value: Mapped[str | None] = mapped_column(String(NAME))  # its class; None: unknown
    who: Mapped[str] = mapped_column(String(NAME))
    why: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    undoes: Mapped[int | None] = mapped_column(ForeignKey("fixes.id"))
    __table_args__ = (Index("ix_fixes_of_picture", "advertiser", "picture_id", "label", "id"),)


class CurrentFix(Base):
    """The fix that holds for an advertiser, a picture and a label."""

    __tablename__ = "current_fixes"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), primary_key=True, index=True)
    label: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    fix_id: Mapped[int] = mapped_column(ForeignKey("fixes.id"))
    value: Mapped[str] = mapped_column(String(NAME))


class ConfiguredValue(Base):
    """A value that an advertiser has configured for a label of all its images."""

    __tablename__ = "configured_values"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    label: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    value: Mapped[str] = mapped_column(String(NAME))
    who: Mapped[str] = mapped_column(String(NAME))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
