"""The catalogue of a recommender: its images can be looked at, searched, and asked about."""

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.tasks.recommend.alternates import Alternates, CatalogueImage
from service.errors import NotFound

SHOWN_TEXT = 40  # characters of a path in a message


def _no_thumbnail(_: int) -> bytes | None:
    return None


@dataclass(frozen=True)
class Page:
    """Some of the images that were searched for."""

    images: tuple[CatalogueImage, ...]
    found: int  # all that match
    next_after: int | None  # ask with it for the next page


@dataclass(frozen=True)
class Catalogue:
    """The images that a recommender offers as alternates.

    Args:
        images: in the order of the bundle.
        thumbnail: of an image, by its place; None if the bundle has none.
        folder: of the files, as in training; None: they are not at hand.
    """

    images: Sequence[CatalogueImage] = ()
    thumbnail: Callable[[int], bytes | None] = _no_thumbnail
    folder: Path | None = None
    _places: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._places.update({image.path: place for place, image in enumerate(self.images)})

    @classmethod
    def of(cls, alternates: Alternates | None, folder: Path | None) -> "Catalogue":
        """Return the catalogue of a bundle, empty if it has none."""
        if alternates is None:
            return cls()

        def thumbnail(place: int) -> bytes | None:
            text = alternates.thumbnail(place)
            return None if text is None else base64.b64decode(text)

        return cls(alternates.images, thumbnail, folder)

    @functools.cached_property
    def digests(self) -> frozenset[str]:
        """The sha256 of the files."""
        return frozenset(image.sha256 for image in self.images)

    @functools.cached_property
    def product_types(self) -> tuple[str, ...]:
        """The product types that images have, sorted."""
        types = {str(image.attributes.get(PRODUCT_TYPE) or "") for image in self.images}
        return tuple(sorted(types - {""}))

    def place(self, path: str) -> int:
        """Return the place of an image.

        Raises:
            NotFound: the catalogue has no such path.
        """
        found = self._places.get(path)
        if found is None:
            raise NotFound(
                "the catalogue has no such image",
                expected="a path as in an answer's alternates",
                got=path[:SHOWN_TEXT],
                remedy="Search the catalogue: GET /v1/catalogue?search=...",
            )
        return found

    def preview(self, path: str) -> bytes:
        """Return a small JPEG of an image.

        Raises:
            NotFound: there is no such image, or the bundle has no thumbnails.
        """
        data = self.thumbnail(self.place(path))
        return data if data is not None else self.file(path)

    def file(self, path: str) -> bytes:
        """Return the file of an image, as it was in training.

        Raises:
            NotFound: it is not at hand.
        """
        image = self.images[self.place(path)]
        data = _read(self.folder, image)
        if data is None:
            raise NotFound(
                "the file of this catalogue image is not at hand",
                expected=f"{path[:SHOWN_TEXT]} in the folder of the training's images",
                got="no such file" if self.folder else "no folder",
                remedy="Start the service with --catalogue FOLDER.",
            )
        return data

    def best(self, path: str) -> bytes:
        """Return the file of an image, or its thumbnail where the file is not at hand.

        Raises:
            NotFound: there is neither.
        """
        place = self.place(path)
        data = _read(self.folder, self.images[place]) or self.thumbnail(place)
        return data if data is not None else self.file(path)

    def search(self, text: str, product_type: str, after: int, most: int) -> Page:
        """Find images whose path or attributes have all words of a text.

        Args:
            text: words, in any case.
            product_type: only images of it; empty: of all.
            after: only images behind this place; -1 for the first page.
            most: images on a page.
        """
        words = text.casefold().split()
        places = [
            place
            for place, image in enumerate(self.images)
            if (not product_type or str(image.attributes.get(PRODUCT_TYPE)) == product_type)
            and all(word in self._texts[place] for word in words)
        ]
        page = [place for place in places if place > after][:most]
        more = bool(page) and page[-1] != places[-1]
        images = tuple(self.images[place] for place in page)
        return Page(images, len(places), page[-1] if more else None)

    @functools.cached_property
    def _texts(self) -> tuple[str, ...]:
        """What is searched of each image, in lower case."""
        return tuple(
            " ".join((image.path, *_words(image.attributes))).casefold() for image in self.images
        )


def _words(attributes: dict[str, Any]) -> list[str]:
    return [str(value) for value in attributes.values() if value is not None]


def _read(folder: Path | None, image: CatalogueImage) -> bytes | None:
    """Return a file of the folder, if it is the one that the bundle knows."""
    if folder is None:
        return None
    path = (folder / image.path).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == image.sha256 else None
