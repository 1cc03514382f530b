"""What an image looks like: whether two files show the same picture, encoded or scaled otherwise.

A perceptual hash (64 signs of the low frequencies of a discrete cosine transform; Zauner, 2010)
proposes pairs, and small colour thumbnails confirm them: a car in two colours has one hash.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LOOK_PX = 64  # side of the square that is looked at
HASH_SIDE, LOW = 32, 8  # pixels of the transform; frequencies that are kept, by axis
THUMBNAIL_SIDE = 16
BITS = 64
MAX_DISTANCE = 8  # bits that differ; WebP at quality 50 changes as many
# Differences of thumbnails, of 255: at any place, where scaling moves edges, and at 95 % of the
# places, which another paint changes. Half the size at JPEG quality 85 changes 11 and 3, WebP at
# quality 50 changes 9 and 3.
MAX_DIFFERENCE, MOST_DIFFERENCE = 11, 3
MOST = 0.95
# Hashes within MAX_DISTANCE agree in one of these bands of bits, at least.
BANDS = tuple(np.linspace(0, BITS, MAX_DISTANCE + 2).astype(int).tolist())


@dataclass(frozen=True)
class Look:
    """What an image looks like."""

    hash: np.uint64
    thumbnail: NDArray[np.uint8]  # (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)

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

    def same_picture(self, other: "Look") -> bool:
        """Return whether two files show the same picture."""
        if int(self.hash ^ other.hash).bit_count() > MAX_DISTANCE:
            return False
        return bool(same_thumbnails(self.thumbnail.reshape(1, -1), other.thumbnail.reshape(1, -1)))


def same_thumbnails(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which thumbnails, (N, T) values, are of one picture, (N,)."""
    apart = np.abs(one.astype(np.int16) - other)
    most = np.partition(apart, round(MOST * apart.shape[1]) - 1, axis=1)
    near = most[:, round(MOST * apart.shape[1]) - 1] <= MOST_DIFFERENCE
    return np.asarray(near & (apart.max(axis=1) <= MAX_DIFFERENCE))
