"""Embeddings of the images that were asked about last: another question needs no decoding.

A marketer tries targets and campaigns on one image. What depends on the image alone is kept here,
by the image's sha256 and the names of its augmented versions, for the one graph of a loaded task.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from cachetools import LRUCache

from augrank.models.backbone import Embedding

DEFAULT_MB = 32
OVERHEAD_BYTES = 600  # of one version: its name, arrays and dictionaries


@dataclass(frozen=True)
class FileInfo:
    """An image file, as decoded."""

    width: int  # pixels, after EXIF orientation
    height: int
    format: str


@dataclass(frozen=True)
class EmbeddedImage:
    """The versions of one image, embedded."""

    info: FileInfo
    embedding: Embedding  # (N, ...), a row for each version
    thumbnails: tuple[str, ...] = ()  # one for each version, or none


@dataclass
class _Kept:
    info: FileInfo
    versions: dict[str, Embedding] = field(default_factory=dict)  # (1, ...) each
    thumbnails: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        arrays = sum(each.features.nbytes + each.logits.nbytes for each in self.versions.values())
        texts = sum(map(len, self.thumbnails.values()))
        return arrays + texts + OVERHEAD_BYTES * (1 + len(self.versions))


class EmbeddingCache:
    """The embeddings of the images that were used last. Thread-safe.

    Args:
        size_bytes: memory limit of all of them; 0 keeps none.
    """

    def __init__(self, size_bytes: int) -> None:
        self._images: LRUCache[str, _Kept] = LRUCache(
            size_bytes, getsizeof=lambda kept: kept.size_bytes
        )
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """The memory of the cached embeddings."""
        return int(self._images.currsize)

    def clear(self) -> None:
        """Forget all images."""
        with self._lock:
            self._images.clear()

    def get(self, sha256: str, names: Sequence[str], *, thumbnails: bool) -> EmbeddedImage | None:
        """Return the versions of an image, if all of them are cached, with thumbnails if wanted."""
        with self._lock:
            kept = self._images.get(sha256)
            if kept is None or not kept.versions.keys() >= set(names):
                return None
            if thumbnails and not kept.thumbnails.keys() >= set(names):
                return None
            parts = [kept.versions[name] for name in names]
            shown = tuple(kept.thumbnails[name] for name in names) if thumbnails else ()
        embedding = Embedding(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.logits for part in parts]),
        )
        return EmbeddedImage(kept.info, embedding, shown)

    def put(self, sha256: str, names: Sequence[str], image: EmbeddedImage) -> None:
        """Cache versions of an image beside those that are already there."""
        rows = {
            name: Embedding(
                image.embedding.features[row : row + 1].copy(),
                image.embedding.logits[row : row + 1].copy(),
            )
            for row, name in enumerate(names)
        }
        with self._lock:
            before = self._images.pop(sha256, None) or _Kept(image.info)
            kept = _Kept(
                image.info,
                before.versions | rows,
                before.thumbnails | dict(zip(names, image.thumbnails, strict=False)),
            )
            if kept.size_bytes <= self._images.maxsize:
                self._images[sha256] = kept
