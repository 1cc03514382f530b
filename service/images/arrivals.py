"""Take in an image file that was sent: look at it, and keep the file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from augrank.images.decode import DecodedImage, DecodeLimits
from service.database.session import Database
from service.database.tables import Sighting, StoredImage
from service.errors import NotFound
from service.images.pictures import SeenImage, known_image
from service.images.store import ImageStore


@dataclass(frozen=True)
class Arrival:
    """An image file that was sent, or is asked about again.

    Attributes:
        sha256: of the file.
        known: what was known of it; None: nothing.
        seen: what it looks like, if nothing was known.
        content: the file, or the decoded image in its place; None: it was not sent this time.
    """

    sha256: str
    known: StoredImage | None
    seen: SeenImage | None = None
    content: bytes | DecodedImage | None = None


def take_in(
    database: Database,
    images: ImageStore,
    data: bytes,
    limits: DecodeLimits,
    decode: Callable[[bytes, DecodeLimits], DecodedImage | None],
) -> Arrival:
    """Look at an image file, and keep it; ``add_images`` adds what it shows.

    Args:
        database: tells what is known.
        images: where the file is kept.
        data: the file.
        limits: larger images are rejected.
        decode: decodes a file for a model, with LOOK_PX pixels at least; None: it takes the file.

    Raises:
        RequestError: it is no image that can be read.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    with database.reads() as session:
        known = known_image(session, sha256)
    seen, decoded = None, None
    if known is None:
        decoded = decode(data, limits)
        seen = SeenImage.decoded(decoded) if decoded else SeenImage.of(sha256, data, limits)
    images.add(sha256, data)  # again, if it had to make room for others
    return Arrival(sha256, known, seen, decoded or data)


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
