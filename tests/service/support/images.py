"""Add images to a database as requests do, without a model."""

from augrank.images.decode import DecodeLimits
from service.database.session import Database
from service.database.tables import StoredImage
from service.images.pictures import SeenImage, add_images, find_near
from tests.service.support.pages import sha256


def add_seen(database: Database, images: list[SeenImage]) -> dict[str, StoredImage]:
    """Add images; return what is known of them, by sha256."""
    with database.reads() as session:
        near = find_near(session, database.looks, [each.look for each in images])
    with database.writes() as session:
        return dict(add_images(session, database.looks, images, near).rows)


def take_in(database: Database, file: bytes) -> StoredImage:
    """Add an image file that nobody has sent; return what is known of it."""
    seen = SeenImage.of(sha256(file), file, DecodeLimits())
    return add_seen(database, [seen])[seen.sha256]
