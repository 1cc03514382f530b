"""Find the picture that an image file shows, or add it."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from augrank.images.decode import DecodeLimits, decode
from augrank.images.look import THUMBNAIL_SIDE, Look
from service.database.session import lock_for_adding
from service.database.tables import Picture, PictureBand, StoredImage

LOOK_PX = 64  # pixels that a look is taken of
MAX_COMPARED = 500  # pictures with an equal band
ADDING = 7_202_511  # number of the lock of those who add pictures


def known_image(session: Session, sha256: str) -> StoredImage | None:
    """Return an image that was seen before."""
    return session.get(StoredImage, sha256)


@dataclass(frozen=True)
class SeenImage:
    """An image file, decoded once to know what it looks like."""

    sha256: str
    look: Look
    width: int  # pixels, after EXIF orientation
    height: int
    format: str

    @classmethod
    def of(cls, sha256: str, data: bytes, limits: DecodeLimits) -> "SeenImage":
        """Decode an image file.

        Raises:
            RequestError: it is no image that can be read.
        """
        decoded = decode(data, LOOK_PX, limits)
        look = Look.of(decoded.pixels)
        return cls(sha256, look, decoded.width, decoded.height, decoded.format)


def add_image(session: Session, seen: SeenImage) -> StoredImage:
    """Add an image, and its picture if that is new; return the one that is there already.

    Args:
        session: that writes.
        seen: the image.
    """
    lock_for_adding(session, ADDING)  # two encodings of a new picture may come at once
    if (known := known_image(session, seen.sha256)) is not None:
        return known
    image = StoredImage(
        sha256=seen.sha256,
        picture_id=_picture_like(session, seen.look),
        width=seen.width,
        height=seen.height,
        format=seen.format,
        seen_at=datetime.now(UTC),
    )
    session.add(image)
    session.flush()
    return image


def _picture_like(session: Session, look: Look) -> int:
    """Return the id of the picture that looks like this; a new one, if there is none."""
    bands = list(enumerate(look.bands()))
    near = (
        select(Picture)
        .join(PictureBand)
        .where(tuple_(PictureBand.band, PictureBand.bits).in_(bands))
        .distinct()
        .order_by(Picture.id)
        .limit(MAX_COMPARED)
    )
    for picture in session.scalars(near):
        if look.same_picture(_look_of(picture)):
            return picture.id
    added = Picture(look_hash=f"{int(look.hash):016x}", thumbnail=look.thumbnail.tobytes())
    session.add(added)
    session.flush()
    session.add_all(PictureBand(picture_id=added.id, band=band, bits=bits) for band, bits in bands)
    return added.id


def _look_of(picture: Picture) -> Look:
    shape = (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    thumbnail = np.frombuffer(picture.thumbnail, np.uint8).reshape(shape)
    return Look(np.uint64(int(picture.look_hash, 16)), thumbnail)
