"""Take in an image file that was sent: find its picture or add it, and keep the file."""

import hashlib

from sqlalchemy.orm import Session

from augrank.images.decode import DecodeLimits
from service.database.session import Database
from service.database.tables import Sighting, StoredImage
from service.errors import NotFound
from service.images.pictures import SeenImage, add_images, find_near, known_image
from service.images.store import ImageStore


def take_in(
    database: Database, images: ImageStore | None, limits: DecodeLimits, data: bytes
) -> StoredImage:
    """Return what is known of an image file, adding it if it is new.

    Args:
        database: for pictures.
        images: where the file is kept; None: nowhere.
        limits: larger images are rejected.
        data: the file.

    Raises:
        RequestError: it is no image that can be read.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with database.reads() as session:
        known = known_image(session, sha256)
    seen = None if known is not None else SeenImage.of(sha256, data, limits)
    if images is not None:
        images.add(sha256, data)  # again, if it had to make room for others
    if seen is None:
        assert known is not None
        return known
    with database.reads() as session:
        near = find_near(session, database.looks, [seen.look])
    with database.writes() as session:
        return add_images(session, database.looks, [seen], near)[sha256]


def sent_image(session: Session, advertiser: str, sha256: str) -> StoredImage:
    """Return an image that an advertiser has sent.

    Raises:
        NotFound: the advertiser has not sent it, whoever else has.
    """
    row = known_image(session, sha256)
    if row is None or session.get(Sighting, (advertiser, sha256)) is None:
        raise NotFound(
            "this advertiser has sent no such image",
            expected="the sha256 of an image that was sent before",
            got=sha256[:12],
            remedy="Send the file itself.",
        )
    return row
