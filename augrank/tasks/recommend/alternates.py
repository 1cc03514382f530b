"""Alternates: the catalogue's images, embedded at export and scored without the backbone."""

import base64
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from cachetools import LRUCache

from augrank.arrays import Float32Array, Float64Array
from augrank.bundle.recommend_spec import AlternatesSpec
from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.errors import BadContext, BundleError, one_of
from augrank.models.backbone import Embedding
from augrank.models.context import Vocabulary
from augrank.models.head import Head

CACHED_SCORES = 128


@dataclass(frozen=True)
class CatalogueImage:
    """A row of the alternates index."""

    path: str  # as in the manifest
    sha256: str
    attributes: dict[str, Any]


class Alternates:
    """The alternates index of a bundle.

    Scores depend only on the target and the context; recently used ones are cached (LRU).
    """

    def __init__(
        self, images: list[CatalogueImage], embedding: Embedding, thumbnails: tuple[bytes, ...]
    ) -> None:
        self.images, self.embedding, self._thumbnails = images, embedding, thumbnails
        types = [str(image.attributes.get(PRODUCT_TYPE, "")) for image in images]
        self._types = np.array(types, dtype=object)
        self._sha256 = np.array([image.sha256 for image in images], dtype=object)
        self._type_names = Vocabulary(sorted({name for name in self._types.tolist() if name}))
        self._scores: LRUCache[tuple[str, bytes], Float64Array] = LRUCache(CACHED_SCORES)
        self._lock = Lock()

    @classmethod
    def load(cls, spec: AlternatesSpec, directory: Path) -> "Alternates":
        """Read the index; the embeddings stay memory-mapped.

        Raises:
            BundleError: the parts do not have the same number of rows.
        """
        features = np.load(directory / spec.features, mmap_mode="r", allow_pickle=False)
        logits = np.load(directory / spec.logits, mmap_mode="r", allow_pickle=False)
        rows = json.loads((directory / spec.attributes).read_text(encoding="utf-8"))
        if not len(features) == len(logits) == len(rows) == spec.count:
            raise BundleError(
                "the parts of the alternates index do not match",
                expected=f"{spec.count} rows in each part",
                got=f"{len(features)}, {len(logits)} and {len(rows)}",
                remedy="Export the run again.",
            )
        images = [CatalogueImage(**row) for row in rows]
        thumbnails: tuple[bytes, ...] = ()
        if spec.thumbnails:
            with zipfile.ZipFile(directory / spec.thumbnails) as archive:
                thumbnails = tuple(archive.read(f"{row}.jpg") for row in range(spec.count))
        return cls(images, Embedding(features, logits), thumbnails)

    def check_type(self, product_type: Any) -> str:
        """Return the product type in the catalogue's spelling, if it has images of it.

        Raises:
            BadContext: lists the available types.
        """
        text, known = str(product_type), self._type_names.values
        found = self._type_names.find(text)
        if found is None:
            raise BadContext(
                "the catalogue has no images of this product type",
                expected=one_of(known, text) if known else "no product type",
                got=repr(product_type),
                remedy=self._type_names.remedy(
                    text, "Leave product_type out to get alternates of the image's own type."
                ),
            )
        return found

    def score(self, head: Head, context: Float32Array) -> Float64Array:
        """Return the probability of every catalogue image, unchanged, float64 (M,).

        Args:
            head: of the target.
            context: float32 (C,), encoded.
        """
        key = (head.spec.target.name, context.tobytes())
        with self._lock:
            kept: Float64Array | None = self._scores.get(key)
        if kept is not None:
            return kept
        scores = head.predict(
            logits=self.embedding.logits, features=self.embedding.features, context=context
        )
        with self._lock:
            self._scores[key] = scores
        return scores

    def best(
        self,
        scores: Float64Array,
        *,
        count: int,
        minimize: bool,
        product_type: str | None,
        image_sha256: str,
    ) -> list[int]:
        """Return the rows of the best alternates, best first; ties keep the catalogue's order.

        Args:
            scores: float64 (M,), from ``score``.
            count: maximum number.
            minimize: whether a low score is good.
            product_type: only images of this type; by default the type of the request's image if
                the catalogue has that image, else any.
            image_sha256: the request's image, which is not an alternate to itself.
        """
        same_image = self._sha256 == image_sha256
        if product_type is None and same_image.any():
            product_type = self._types[int(np.argmax(same_image))]
        allowed = ~same_image
        if product_type:
            allowed &= self._types == product_type
        rows = np.flatnonzero(allowed)
        order = np.argsort(scores[rows] if minimize else -scores[rows], kind="stable")
        return [int(row) for row in rows[order[:count]]]

    def thumbnail(self, row: int) -> str | None:
        """Return the image as base64 JPEG, if the bundle contains thumbnails."""
        if not self._thumbnails:
            return None
        return base64.b64encode(self._thumbnails[row]).decode()
