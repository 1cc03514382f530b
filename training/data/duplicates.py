"""Find images that show the same: the same bytes, or the same picture encoded or scaled otherwise.

A perceptual hash (64 signs of the low frequencies of a discrete cosine transform; Zauner, 2010)
proposes pairs, and small colour pictures confirm them: a car in two colours has one hash.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE, LOW = 32, 8  # pixels of the transform; frequencies that are kept, by axis
THUMBNAIL_SIDE = 16
MAX_DISTANCE = 8  # bits that differ; WebP at quality 50 changes as many
MAX_DIFFERENCE = 6  # of 255, at any place of the thumbnails; JPEG at quality 40 changes 4
BITS, BANDS = 64, MAX_DISTANCE + 1  # pairs within MAX_DISTANCE agree in one of so many bands
MAX_BUCKET = 2_000  # of images with the same band; blank pictures would make millions of pairs


@dataclass(frozen=True)
class Look:
    """What an image looks like."""

    hash: np.uint64
    thumbnail: NDArray[np.uint8]  # (T, T, 3)

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> "Look":
        """Describe an image, uint8 (S, S, 3) RGB."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
        low = cv2.dct(small.astype(np.float32))[:LOW, :LOW].ravel()
        bits = low > np.median(low[1:])  # the first is the mean brightness
        side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        return cls(
            np.packbits(bits).view(">u8")[0].astype(np.uint64),
            np.asarray(cv2.resize(image, side, interpolation=cv2.INTER_AREA)),
        )


def duplicate_groups(digests: Sequence[str], looks: Sequence[Look]) -> NDArray[np.int64]:
    """Return a group number for each image, (N,): the smallest number of an image like it.

    Args:
        digests: sha256 of each file.
        looks: of each image.
    """
    parent = list(range(len(looks)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def join(one: int, other: int) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    seen: dict[str, int] = {}
    for number, digest in enumerate(digests):
        join(number, seen.setdefault(digest, number))
    for one, other in _near_pairs(looks):
        join(one, other)
    return np.array([root(number) for number in range(len(looks))], np.int64)


def _near_pairs(looks: Sequence[Look]) -> Iterator[tuple[int, int]]:
    """Yield pairs of images that look the same."""
    if not looks:
        return
    hashes = np.array([look.hash for look in looks], np.uint64)
    thumbnails = np.stack([look.thumbnail for look in looks]).reshape(len(looks), -1)
    ends = np.linspace(0, BITS, BANDS + 1).astype(int).tolist()
    for low, high in itertools.pairwise(ends):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=np.uint64(0))).tolist()
        for start, end in zip([0, *starts], [*starts, len(order)], strict=True):
            bucket = order[start:end]
            # Of very many alike, each is compared with the nearest in order, not with all.
            reach = len(bucket) if len(bucket) <= MAX_BUCKET else MAX_BUCKET // 10
            for step in range(1, min(reach, len(bucket))):
                one, other = bucket[:-step], bucket[step:]
                near = np.bitwise_count(hashes[one] ^ hashes[other]) <= MAX_DISTANCE
                one, other = one[near], other[near]
                apart = np.abs(thumbnails[one].astype(np.int16) - thumbnails[other])
                same = apart.max(axis=1) <= MAX_DIFFERENCE
                yield from zip(one[same].tolist(), other[same].tolist(), strict=True)
