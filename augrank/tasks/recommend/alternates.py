"""Alternates: the catalogue's images, embedded at export and scored without the backbone."""

import base64
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.bundle.recommend_spec import AlternatesSpec, EmbeddingFiles
from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.errors import BadContext, BundleError, one_of
from augrank.models.backbone import Embedding
from augrank.models.context import Vocabulary
from augrank.models.head import HeadRows
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects

CACHED_SCORES = 128
MAX_CONSIDERED = 1000  # images that one request is compared with


@dataclass(frozen=True)
class CatalogueImage:
    """A row of the alternates index."""

    path: str  # as in the manifest
    sha256: str
    attributes: dict[str, Any]


class Offer(Protocol):
    """The parts of a request that alternates depend on."""

    @property
    def estimator(self) -> Estimator:
        """Of the target."""

    @property
    def context(self) -> Float32Array:
        """The encoded context, float32 (C,)."""

    @property
    def product_type(self) -> str | None:
        """Only images of this type; None: of the type of the request's image, if known."""

    @property
    def sha256(self) -> str:
        """Of the request's image."""


class Alternates:
    """The alternates index of a bundle.

    Scores depend only on the target and the context; recently used ones are cached (LRU).

    Args:
        images: the catalogue.
        embedding: of its images.
        thumbnails: JPEGs of all images, or none.
        original: number of the augmentation ``original``.
    """

    def __init__(
        self,
        images: list[CatalogueImage],
        embedding: Embedding,
        thumbnails: tuple[bytes, ...],
        original: int,
    ) -> None:
        self.images, self.embedding, self._thumbnails = images, embedding, thumbnails
        self._original = original
        types = [str(image.attributes.get(PRODUCT_TYPE, "")) for image in images]
        self._types = np.array(types, dtype=object)
        self._sha256 = np.array([image.sha256 for image in images], dtype=object)
        self._type_names = Vocabulary(sorted({name for name in self._types.tolist() if name}))
        self._scores: LRUCache[tuple[str, bytes], Float32Array] = LRUCache(CACHED_SCORES)
        self._lock = Lock()

    @classmethod
    def load(
        cls, spec: AlternatesSpec, embedded: EmbeddingFiles, directory: Path, original: int
    ) -> "Alternates":
        """Read the index; the embeddings stay memory-mapped.

        Args:
            spec: names the files.
            embedded: names those of the graph that is used.
            directory: the bundle.
            original: number of the augmentation ``original``.

        Raises:
            BundleError: the parts do not have the same number of rows.
        """
        features = np.load(directory / embedded.features, mmap_mode="r", allow_pickle=False)
        logits = np.load(directory / embedded.logits, mmap_mode="r", allow_pickle=False)
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
        return cls(images, Embedding(features, logits), thumbnails, original)

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

    def predict(self, offer: Offer) -> tuple[NDArray[np.int64], Float64Array] | None:
        """Predict the images that may be offered, at most MAX_CONSIDERED of the best rated.

        Returns:
            Their rows, (N,), and draws of their probabilities, (draws, N); None if there are none.
        """
        estimator, context = offer.estimator, offer.context
        allowed = self._allowed(offer.product_type, offer.sha256)
        if not allowed.any():
            return None
        score = self._score(estimator, context)
        rows = np.flatnonzero(allowed)
        if len(rows) > MAX_CONSIDERED:
            rating = estimator.rating(score[rows], estimator.catalogue[rows])
            sign = 1 if estimator.spec.target.direction == "minimize" else -1
            rows = np.sort(rows[np.argsort(sign * rating, kind="stable")[:MAX_CONSIDERED]])
        inputs, known = self._rows(context, rows), estimator.catalogue[rows]
        # The request's image has number 0.
        return rows, estimator.images(inputs, score[rows], known, first=1)

    def known(self, estimator: Estimator, image_sha256: str) -> ImageEffects | None:
        """Return what training knows of an image of the catalogue, found by its content."""
        rows = np.flatnonzero(self._sha256 == image_sha256)
        if not len(rows):
            return None
        row = estimator.catalogue.best_known(rows)
        return estimator.catalogue[row : row + 1]

    def _allowed(self, product_type: str | None, image_sha256: str) -> NDArray[np.bool_]:
        """Return which images may be offered, (M,).

        Args:
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
        return np.asarray(allowed, bool)

    def _score(self, estimator: Estimator, context: Float32Array) -> Float32Array:
        key = (estimator.spec.target.name, context.tobytes())
        with self._lock:
            kept: Float32Array | None = self._scores.get(key)
        if kept is not None:
            return kept
        score = estimator.score(self._rows(context, slice(None)))
        with self._lock:
            self._scores[key] = score
        return score

    def _rows(self, context: Float32Array, rows: slice | NDArray[np.int64]) -> HeadRows:
        """Return the heads' inputs: the images as they are, without an augmentation."""
        logits = self.embedding.logits[rows]
        return HeadRows(
            augmentation=np.full(len(logits), self._original),
            logits=logits,
            features=self.embedding.features[rows],
            context=context,
        )

    def thumbnail(self, row: int) -> str | None:
        """Return the image as base64 JPEG, if the bundle contains thumbnails."""
        if not self._thumbnails:
            return None
        return base64.b64encode(self._thumbnails[row]).decode()
