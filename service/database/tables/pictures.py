"""Pictures, the image files that show them, and who has sent them.

A picture is what a person sees; an image is a file that shows it. Answers of a model and fixes of
people are about pictures, so that they hold for every encoding, URL and ETag.
"""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.database.tables.base import DIGEST, NAME, Base


class Picture(Base):
    """What one or several image files show."""

    __tablename__ = "pictures"

    id: Mapped[int] = mapped_column(primary_key=True)
    look_hash: Mapped[str] = mapped_column(String(16))  # hexadecimal; no database has uint64
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary)


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
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"), primary_key=True, index=True)


class Source(Base):
    """What was last found at a URL, for an advertiser: a pointer to an image, no proof."""

    __tablename__ = "sources"

    advertiser: Mapped[str] = mapped_column(String(NAME), primary_key=True)
    url_digest: Mapped[str] = mapped_column(String(DIGEST), primary_key=True)  # sha256 of the URL
    url: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(ForeignKey("images.sha256"), index=True)
    etag: Mapped[str] = mapped_column(Text)
    last_modified: Mapped[str] = mapped_column(Text)
    checked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    __table_args__ = (Index("ix_sources_of_advertiser", "advertiser", "checked_at"),)
