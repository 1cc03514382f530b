"""The tables.

A picture is what a person sees; an image is a file that shows it. Answers of a model and fixes of
people are about pictures, so that they hold for every encoding, URL and ETag.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME, DIGEST = 200, 64  # characters


class Base(DeclarativeBase):
    """All tables."""


class Picture(Base):
    """What one or several image files show."""

    __tablename__ = "pictures"

    id: Mapped[int] = mapped_column(primary_key=True)
    look_hash: Mapped[str] = mapped_column(String(16))  # hexadecimal; no database has uint64
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary)


class PictureBand(Base):
    """A band of bits of a picture's hash, by which pictures that look alike are found."""

    __tablename__ = "picture_bands"

    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), primary_key=True)
    band: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    bits: Mapped[int] = mapped_column(Integer)
    __table_args__ = (Index("ix_picture_bands_bits", "band", "bits"),)


class StoredImage(Base):
    """An image file that was seen."""

    __tablename__ = "images"

    sha256: Mapped[str] = mapped_column(String(DIGEST), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), index=True)
    width: Mapped[int]  # pixels, after EXIF orientation
    height: Mapped[int]
    format: Mapped[str] = mapped_column(String(16))
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Sighting(Base):
    """That an advertiser has sent an image: nobody corrects what others have."""

    __tablename__ = "sightings"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"), primary_key=True)


class StoredAnswer(Base):
    """What a model said of a picture; the same for every advertiser."""

    __tablename__ = "answers"

    id: Mapped[int] = mapped_column(primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"))
    model: Mapped[str] = mapped_column(String(NAME))  # the bundle's digest
    options: Mapped[str] = mapped_column(Text)  # JSON of what the answer depends on
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    used_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    __table_args__ = (UniqueConstraint("picture_id", "model", "options"),)


class Fix(Base):
    """The history of corrections: rows are added, never changed."""

    __tablename__ = "fixes"

    id: Mapped[int] = mapped_column(primary_key=True)
    advertiser: Mapped[str] = mapped_column(String(NAME))
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"))
    sha256: Mapped[str] = mapped_column(String(DIGEST))  # the image that was looked at
    label: Mapped[str] = mapped_column(String(NAME))
    before: Mapped[str | None] = mapped_column(String(NAME))  # the fix until then; None: none
    after: Mapped[str | None] = mapped_column(String(NAME))  # None: the model decides again
    who: Mapped[str] = mapped_column(String(NAME))
    why: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    undoes: Mapped[int | None] = mapped_column(ForeignKey("fixes.id"))
    __table_args__ = (Index("ix_fixes_of_picture", "advertiser", "picture_id", "label", "id"),)


class CurrentFix(Base):
    """The fix that holds for an advertiser, a picture and a label."""

    __tablename__ = "current_fixes"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"), primary_key=True)
    label: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    fix_id: Mapped[int] = mapped_column(ForeignKey("fixes.id"))
    value: Mapped[str] = mapped_column(String(NAME))


class Source(Base):
    """What was last found at a URL, for an advertiser: a pointer to an image, no proof."""

    __tablename__ = "sources"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    url_digest: Mapped[str] = mapped_column(String(DIGEST), primary_key=True)  # sha256 of the URL
    url: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"))
    etag: Mapped[str] = mapped_column(Text)
    last_modified: Mapped[str] = mapped_column(Text)
    checked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Job(Base):
    """Work that goes on after its request was answered."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))  # batch
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
