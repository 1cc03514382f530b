"""Find the picture that an image file shows, or add it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from augrank.images.decode import DecodeLimits, decode
from augrank.images.look import MAX_DISTANCE, THUMBNAIL_SIDE, Look
from service.database.entries import enter_sightings, lock_pictures, pictures_of_files
from service.database.session import insert_missing, lock_for_adding
from service.database.tables import Picture, PictureBand, Sighting, StoredImage

LOOK_PX = 64  # pixels that a look is taken of
CHUNK = 1000  # digests in a query
ADDING = 7_202_511  # number of the lock of those who add pictures


def known_image(session: Session, sha256: str) -> StoredImage | None:
    """Return an image that was seen before."""
    return session.get(StoredImage, sha256)


def known_images(session: Session, digests: Collection[str]) -> dict[str, StoredImage]:
    """Return those of some images that were seen before, by sha256."""
    rows = session.scalars(select(StoredImage).where(StoredImage.sha256.in_(digests)))
    return {row.sha256: row for row in rows}


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


@dataclass(frozen=True)
class Near:
    """The picture that looks like an image, of those up to an id."""

    picture: int | None
    up_to: int


def find_near(session: Session, look: Look, after: int = 0) -> Near:
    """Find the first picture that looks like this one.

    Args:
        session: that reads.
        look: of the image.
        after: only pictures with a higher id.
    """
    last = session.scalar(select(func.max(Picture.id))) or 0
    bands = list(enumerate(look.bands()))
    rows = session.execute(
        select(Picture.id, Picture.look_hash)
        .join(PictureBand)
        .where(tuple_(PictureBand.band, PictureBand.bits).in_(bands), Picture.id > after)
        .distinct()
        .order_by(Picture.id)
    ).all()
    if rows:
        ids = np.array([row[0] for row in rows])
        hashes = np.array([int(row[1], 16) for row in rows], np.uint64)
        near = ids[np.bitwise_count(hashes ^ look.hash) <= MAX_DISTANCE].tolist()
        query = select(Picture).where(Picture.id.in_(near)).order_by(Picture.id)
        for picture in session.scalars(query):
            if look.same_picture(_look_of(picture)):
                return Near(picture.id, last)
    return Near(None, last)


def add_image(session: Session, seen: SeenImage, near: Near) -> StoredImage:
    """Add an image, and its picture if that is new; return the one that is there already.

    Args:
        session: that writes.
        seen: the image.
        near: the result of ``find_near`` a moment ago, before the lock.
    """
    lock_for_adding(session, ADDING)  # two encodings of a new picture may come at once
    if (known := known_image(session, seen.sha256)) is not None:
        return known
    picture = near.picture or find_near(session, seen.look, near.up_to).picture
    image = StoredImage(
        sha256=seen.sha256,
        picture_id=picture or _add_picture(session, seen.look),
        width=seen.width,
        height=seen.height,
        format=seen.format,
        seen_at=datetime.now(UTC),
    )
    session.add(image)
    session.flush()
    return image


def note_sightings(session: Session, advertiser: str, digests: Sequence[str]) -> None:
    """Note that an advertiser has sent images that are there, and may see their answers."""
    rows = [{"advertiser": advertiser, "sha256": digest} for digest in sorted(set(digests))]
    if rows:
        pictures = pictures_of_files(session, digests)
        lock_pictures(session, pictures)
        insert_missing(session, Sighting, rows)
        enter_sightings(session, advertiser, digests, pictures)


def senders_of(session: Session, digests: Sequence[str]) -> dict[str, str]:
    """Return which advertiser has sent images, without images that several or none have sent."""
    found: dict[str, str] = {}
    for start in range(0, len(digests), CHUNK):
        some = digests[start : start + CHUNK]
        rows = session.execute(
            select(Sighting.sha256, func.min(Sighting.advertiser))
            .where(Sighting.sha256.in_(some))
            .group_by(Sighting.sha256)
            .having(func.count() == 1)
        )
        found |= dict(rows.all())
    return found


@dataclass(frozen=True)
class Sent:
    """What an advertiser has sent before."""

    images: Mapping[str, int]  # pictures by sha256
    pictures: frozenset[int]


def sent_before(session: Session, advertiser: str, pictures: Sequence[int]) -> Sent:
    """Return the images of some pictures that an advertiser has sent before."""
    rows = session.execute(
        select(Sighting.sha256, StoredImage.picture_id)
        .join(StoredImage, StoredImage.sha256 == Sighting.sha256)
        .where(Sighting.advertiser == advertiser, StoredImage.picture_id.in_(pictures))
    ).all()
    images = {digest: picture for digest, picture in rows}  # noqa: C416 - typed
    return Sent(images, frozenset(images.values()))


def _add_picture(session: Session, look: Look) -> int:
    added = Picture(look_hash=f"{int(look.hash):016x}", thumbnail=look.thumbnail.tobytes())
    session.add(added)
    session.flush()
    session.add_all(
        PictureBand(picture_id=added.id, band=band, bits=bits)
        for band, bits in enumerate(look.bands())
    )
    return added.id


def _look_of(picture: Picture) -> Look:
    shape = (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    thumbnail = np.frombuffer(picture.thumbnail, np.uint8).reshape(shape)
    return Look(np.uint64(int(picture.look_hash, 16)), thumbnail)
