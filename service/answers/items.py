"""The images of a request, on their way to their answers."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from augrank.errors import AugrankError, RequestError
from augrank.images.decode import DecodedImage
from augrank.images.look import Look
from service.database.looks import LookIndex
from service.database.tables import StoredImage
from service.errors import ChangedMeanwhile
from service.images.pictures import Near, SeenImage, add_images, find_near, known_images


@dataclass
class Item:
    """One image on its way."""

    sha256: str | None = None
    picture: int | None = None
    file: dict[str, Any] = field(default_factory=dict)  # what the answer says of the file
    error: AugrankError | None = None
    refusal: Mapping[str, Any] | None = None  # the model's, as in its answer
    given_by_digest: bool = False
    decoded: DecodedImage | None = None  # for the model, in place of the file

    @classmethod
    def of(cls, image: bytes | str | RequestError) -> "Item":
        """Return an image that was sent, or why there is none."""
        if isinstance(image, RequestError):
            return cls(error=image)
        if isinstance(image, str):
            return cls(image, given_by_digest=True)
        return cls(hashlib.sha256(image).hexdigest())

    def know(self, row: StoredImage | None) -> None:
        """Take what is known of the image."""
        if row is not None:
            self.picture = row.picture_id
            self.file = {
                "sha256": row.sha256,
                "width": row.width,
                "height": row.height,
                "format": row.format,
            }


@dataclass(frozen=True)
class NewImages:
    """Images that nobody has sent, until they are added with what is answered about them."""

    seen: Sequence[SeenImage] = ()
    near: Sequence[Near] = ()  # pictures that look like them

    @classmethod
    def of(cls, session: Session, looks: LookIndex, seen: Sequence[SeenImage]) -> "NewImages":
        """Find the pictures that look like images, in a session that has read nothing yet."""
        return cls(seen, find_near(session, looks, [each.look for each in seen]))

    def number(self, items: Sequence[Item]) -> None:
        """Let items know what they show: a picture's id, or a number below zero, which none has."""
        pictures, unseen = dict[str, int](), dict[int, Look]()
        for each, near in zip(self.seen, self.near, strict=True):
            number = near.picture
            if number is None:  # in this request, two files may show it
                alike = (n for n, look in unseen.items() if each.look.same_picture(look))
                number = next(alike, -len(unseen) - 1)
                unseen.setdefault(number, each.look)
            pictures[each.sha256] = number
        for item in items:
            if not item.given_by_digest:
                item.picture = pictures.get(item.sha256 or "", item.picture)

    def add(
        self, session: Session, looks: LookIndex, items: Sequence[Item]
    ) -> tuple[dict[int, int], Collection[str]]:
        """Add the images; items know them then.

        Returns:
            The pictures' ids, by the numbers that they had; and the files that were added.

        Raises:
            ChangedMeanwhile: others have added one of them, and found another picture.
        """
        if not self.seen:
            return {}, ()
        added, pictures = add_images(session, looks, self.seen, self.near), dict[int, int]()
        for item in items:
            row = added.rows.get(item.sha256 or "")
            if row is None or item.picture is None:
                continue
            picture = item.picture if item.picture > 0 else row.picture_id
            if pictures.setdefault(item.picture, picture) != row.picture_id:
                raise ChangedMeanwhile.made()
            item.know(row)
        return pictures, added.new


def know(session: Session, items: Sequence[Item]) -> None:
    """Let items know the images that were seen before."""
    rows = known_images(session, {item.sha256 for item in items if item.sha256})
    for item in items:
        item.know(rows.get(item.sha256 or ""))


def unknown(
    items: Sequence[Item], images: Sequence[bytes | str | RequestError]
) -> list[tuple[Item, bytes]]:
    """Return the items that were never seen, with their files."""
    return [
        (item, image)
        for item, image in zip(items, images, strict=True)
        if item.picture is None and isinstance(image, bytes)
    ]


def pictures_of(items: Sequence[Item]) -> list[int]:
    """Return the pictures that are known, or numbers in their place, in order."""
    return sorted({item.picture for item in items if item.picture is not None})


def files_of(items: Sequence[Item]) -> dict[str, int]:
    """Return the pictures of images, by sha256."""
    return {item.sha256: item.picture for item in items if item.sha256 and item.picture is not None}


def by_digest_alone(items: Sequence[Item]) -> set[int]:
    """Return the pictures that no file of the request shows: an earlier model's answer will do."""
    shown = {item.picture for item in items if not item.given_by_digest}
    named = {item.picture for item in items if item.given_by_digest and item.picture is not None}
    return named - shown
