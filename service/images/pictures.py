"""Find the picture that an image file shows, or add it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import numpy as np
from sqlalchemy import Table, bindparam, func, insert, select
from sqlalchemy.orm import Session

from augrank.images.decode import DecodedImage, DecodeLimits, decode
from augrank.images.letterbox import smaller
from augrank.images.look import LOOK_PX, THUMBNAIL_SIDE, Look
from service.database.entries import enter_sightings, lock_pictures, pictures_of_files
from service.database.looks import LookIndex
from service.database.session import insert_missing, lock_for_adding
from service.database.tables import Picture, Sighting, StoredImage

CHUNK = 1000  # digests in a query
ADDING = 7_202_511  # number of the lock of those who add pictures


_SIGHTING, _IMAGE = Sighting.__table__.c, StoredImage.__table__.c
KNOWN = select(*_IMAGE).where(_IMAGE.sha256.in_(bindparam("digests", expanding=True)))


def known_image(session: Session, sha256: str) -> StoredImage | None:
    """Return an image that was seen before."""
    return known_images(session, [sha256]).get(sha256)


def known_images(session: Session, digests: Collection[str]) -> dict[str, StoredImage]:
    """Return those of some images that were seen before, by sha256."""
    rows = session.execute(KNOWN, {"digests": list(digests)})
    return {row.sha256: StoredImage(**row._mapping) for row in rows}


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
        return cls.decoded(replace(decode(data, LOOK_PX, limits), sha256=sha256))

    @classmethod
    def decoded(cls, image: DecodedImage) -> "SeenImage":
        """Look at an image file that was decoded to LOOK_PX pixels, or more."""
        look = Look.of(smaller(image.pixels, image.width, image.height, LOOK_PX))
        return cls(image.sha256, look, image.width, image.height, image.format)


@dataclass(frozen=True)
class AddedImages:
    """Images that are known by now."""

    rows: Mapping[str, StoredImage]  # by sha256
    new: Collection[str]  # the files that this transaction has added
    new_pictures: Collection[int]  # that it has added


@dataclass(frozen=True)
class Near:
    """The picture that looks like an image, of those up to an id."""

    picture: int | None
    up_to: int


def find_near(session: Session, looks: LookIndex, asked: Sequence[Look]) -> list[Near]:
    """Find the first picture that looks like each of some images.

    Args:
        session: a new one, which has read nothing yet.
        looks: of the pictures.
        asked: of the images.
    """
    last = looks.refresh(session)
    return [Near(_first_alike(session, looks, look, 0, last), last) for look in asked]


def add_images(
    session: Session, looks: LookIndex, seen: Sequence[SeenImage], near: Sequence[Near]
) -> AddedImages:
    """Add images, and their pictures if those are new.

    One transaction at a time adds pictures. It holds no picture's lock yet, and waits for some
    after this.

    Args:
        session: that writes, and has added no pictures yet.
        looks: of the pictures.
        seen: the images; one that is there already stays as it is.
        near: the result of ``find_near`` for each, a moment ago, before the lock.
    """
    lock_for_adding(session, ADDING)  # two encodings of a new picture may come at once
    images = known_images(session, {each.sha256 for each in seen})
    last = looks.refresh(session)
    new = {
        each.sha256: (each, found)
        for each, found in zip(seen, near, strict=True)
        if each.sha256 not in images
    }
    pictures: dict[str, int] = {}  # of new images, by sha256
    added: list[tuple[Look, list[str]]] = []  # new pictures, with the files that show them
    for digest, (each, found) in new.items():
        picture = found.picture or _first_alike(session, looks, each.look, found.up_to, last)
        if picture is not None:
            pictures[digest] = picture
            continue
        same = [files for look, files in added if each.look.same_picture(look)]
        if same:
            same[0].append(digest)
        else:
            added.append((each.look, [digest]))
    numbers = _add_pictures(session, added)
    for number, (_, files) in zip(numbers, added, strict=True):
        pictures |= dict.fromkeys(files, number)
    now = datetime.now(UTC)
    rows = [
        {
            "sha256": digest,
            "picture_id": pictures[digest],
            "width": each.width,
            "height": each.height,
            "format": each.format,
            "seen_at": now,
        }
        for digest, (each, _) in new.items()
    ]
    if rows:
        session.execute(insert(cast(Table, StoredImage.__table__)), rows)
    rows_of_new = {digest: StoredImage(**row) for digest, row in zip(new, rows, strict=True)}
    return AddedImages(images | rows_of_new, new.keys(), numbers)


def note_sightings(
    session: Session, advertiser: str, digests: Sequence[str], added: Collection[str] = ()
) -> None:
    """Note that an advertiser has sent images that are there, and may see their answers.

    Args:
        session: that writes.
        advertiser: who has sent them.
        digests: of the files.
        added: those of them that the same transaction has added: there is no answer about them.
    """
    rows = [{"advertiser": advertiser, "sha256": digest} for digest in sorted(set(digests))]
    if not rows:
        return
    earlier = sorted(set(digests).difference(added))
    pictures = pictures_of_files(session, earlier) if earlier else []
    lock_pictures(session, pictures)
    insert_missing(session, Sighting, rows)
    if earlier:
        enter_sightings(session, advertiser, earlier, pictures)


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


SENT = (
    select(_SIGHTING.sha256, _IMAGE.picture_id)
    .join_from(Sighting.__table__, StoredImage.__table__, _IMAGE.sha256 == _SIGHTING.sha256)
    .where(
        _SIGHTING.advertiser == bindparam("advertiser"),
        _IMAGE.picture_id.in_(bindparam("pictures", expanding=True)),
    )
)


def sent_before(session: Session, advertiser: str, pictures: Sequence[int]) -> Sent:
    """Return the images of some pictures that an advertiser has sent before."""
    rows = session.execute(SENT, {"advertiser": advertiser, "pictures": pictures}).all()
    images = {digest: picture for digest, picture in rows}  # noqa: C416 - typed
    return Sent(images, frozenset(images.values()))


def _first_alike(
    session: Session, looks: LookIndex, look: Look, after: int, up_to: int
) -> int | None:
    """Return the first picture whose hash and thumbnail are like those of a look.

    Args:
        session: that sees the pictures.
        looks: of the pictures.
        look: of an image.
        after: only pictures with a higher id.
        up_to: id of the last picture that the session is sure to see. Others may have added more
            since it began to read, which would be taken for removed ones.
    """
    near = looks.near(look.hash, after, up_to)
    for start in range(0, len(near), CHUNK):
        some = near[start : start + CHUNK]
        found = session.scalars(select(Picture).where(Picture.id.in_(some)).order_by(Picture.id))
        pictures = found.all()
        if len(pictures) < len(some):  # another process has removed some
            looks.forget(sorted(set(some) - {picture.id for picture in pictures}))
        for picture in pictures:
            if look.same_picture(_look_of(picture)):
                return picture.id
    return None


def _add_pictures(session: Session, added: Sequence[tuple[Look, object]]) -> list[int]:
    """Add a picture for each look; return their ids, in order."""
    rows = [
        {"look_hash": f"{int(look.hash):016x}", "thumbnail": look.thumbnail.tobytes()}
        for look, _ in added
    ]
    if not rows:
        return []
    table = cast(Table, Picture.__table__)
    command = insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return list(session.scalars(command, rows))


def _look_of(picture: Picture) -> Look:
    shape = (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    thumbnail = np.frombuffer(picture.thumbnail, np.uint8).reshape(shape)
    return Look(np.uint64(int(picture.look_hash, 16)), thumbnail)
