"""Find images that show the same: the same bytes, or the same picture encoded or scaled otherwise.

See ``augrank/images/look.py`` for when two files do.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from augrank.images.look import BANDS, MAX_DISTANCE, Look, same_thumbnails

MAX_BUCKET = 2_000  # of images with the same band; blank pictures would make millions of pairs


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
    for low, high in itertools.pairwise(BANDS):
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
                same = same_thumbnails(thumbnails[one], thumbnails[other])
                yield from zip(one[same].tolist(), other[same].tolist(), strict=True)
