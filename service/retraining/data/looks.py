"""What pictures look like, and which of them show the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import read_arrays
from augrank.errors import RequestError
from augrank.files import atomic_write
from augrank.images.decode import DecodeLimits
from augrank.images.look import THUMBNAIL_SIDE, Look
from service.images.pictures import SeenImage


@dataclass(frozen=True)
class Looks:
    """The looks of N pictures.

    Attributes:
        hash: uint64 (N,).
        thumbnail: uint8 (N, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3).
    """

    hash: NDArray[np.uint64]
    thumbnail: NDArray[np.uint8]

    @classmethod
    def of(cls, looks: Sequence[Look]) -> "Looks":
        """Gather looks."""
        shape = (len(looks), THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
        thumbnails = np.array([look.thumbnail for look in looks], np.uint8).reshape(shape)
        return cls(np.array([look.hash for look in looks], np.uint64), thumbnails)

    @classmethod
    def read(cls, file: Path) -> "Looks":
        """Read what ``write`` wrote."""
        arrays = read_arrays(file)
        return cls(arrays["hash"], arrays["thumbnail"])

    def write(self, file: Path) -> None:
        """Write them, whole or not at all."""
        with atomic_write(file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, hash=self.hash, thumbnail=self.thumbnail)

    def each(self) -> list[Look]:
        """Return them one by one."""
        return [Look(*each) for each in zip(self.hash, self.thumbnail, strict=True)]

    def __len__(self) -> int:
        return len(self.hash)


def seen_image(sha256: str, file: Path, limits: DecodeLimits) -> SeenImage | RequestError:
    """Decode an image file; return why it cannot be read instead."""
    try:
        return SeenImage.of(sha256, file.read_bytes(), limits)
    except RequestError as error:
        return error
    except OSError:
        return RequestError("the file is not kept any more")


def same_picture_as(
    digests: Sequence[str], looks: Iterable[Look], pictures: Mapping[str, int]
) -> list[int]:
    """Return for each of N pictures the first place of one that shows the same.

    Args:
        digests: sha256 of each file.
        looks: of each.
        pictures: by sha256, the picture that the service takes a file for: two files of one need
            not look alike if both look like a third.
    """
    from training.data.duplicates import duplicate_groups  # training's, so that splits agree

    above = [int(first) for first in duplicate_groups(digests, list(looks))]

    def root(place: int) -> int:
        while above[place] != place:
            place = above[place]
        return place

    first_of: dict[int, int] = {}
    for place, digest in enumerate(digests):
        if (picture := pictures.get(digest)) is not None:
            low, high = sorted((root(place), root(first_of.setdefault(picture, place))))
            above[high] = low
    return [root(place) for place in range(len(digests))]
