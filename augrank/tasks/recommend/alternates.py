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

CACHED_BYTES = 16 * 1024**2  # of predictions
MAX_CONSIDERED = 1000  # images that one request is compared with


@dataclass(frozen=True)
class CatalogueImage:
    """A row of the alternates index."""

    path: str  # as in the manifest
    sha256: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Predicted:
    """Images that may be offered, and what they would do."""

    rows: NDArray[np.int64]  # (N,) of the catalogue, ascending
    draws: Float64Array  # (M, N) of their probabilities, read-only


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

    Predictions depend only on the target, the context and the product type, not on the request's
    image; recently used ones are cached (LRU).

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
        self._predicted: LRUCache[tuple[str, bytes, str | None], Predicted] = LRUCache(
            CACHED_BYTES, getsizeof=lambda kept: kept.draws.nbytes
        )
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
        """Predict the images that may be offered, of at most MAX_CONSIDERED of the best rated.

        The request's image is no alternate to itself. If the catalogue has it, its type is the
        default.

        Returns:
            Their rows, (N,), and draws of their probabilities, (draws, N); None if there are none.
        """
        same_image = self._sha256 == offer.sha256
        product_type, known = offer.product_type, same_image.any()
        if product_type is None and known:
            product_type = self._types[int(np.argmax(same_image))]
        predicted = self._predict(offer.estimator, offer.context, product_type or None)
        rows, draws = predicted.rows, predicted.draws
        if known:
            others = ~same_image[rows]
            rows, draws = rows[others], draws[:, others]
        return (rows, draws) if len(rows) else None

    def known(self, estimator: Estimator, image_sha256: str) -> ImageEffects | None:
        """Return what training knows of an image of the catalogue, found by its content."""
        rows = np.flatnonzero(self._sha256 == image_sha256)
        if not len(rows):
            return None
        row = estimator.catalogue.best_known(rows)
        return estimator.catalogue[row : row + 1]

    def _predict(
        self, estimator: Estimator, context: Float32Array, product_type: str | None
    ) -> Predicted:
        """Predict the best rated images of a type, or of all."""
        key = (estimator.spec.target.name, context.tobytes(), product_type)
        with self._lock:
            kept: Predicted | None = self._predicted.get(key)
        if kept is not None:
            return kept
        of_type = self._types == product_type if product_type else np.ones(len(self._types), bool)
        rows = np.flatnonzero(of_type)
        inputs, known = self._rows(context, rows), estimator.catalogue[rows]
        score = estimator.score(inputs)
        if len(rows) > MAX_CONSIDERED:
            rating = estimator.rating(score, known)
            sign = 1 if estimator.spec.target.direction == "minimize" else -1
            best = np.sort(np.argsort(sign * rating, kind="stable")[:MAX_CONSIDERED])
            rows, score, known = rows[best], score[best], known[best]
            inputs = self._rows(context, rows)
        # The request's image has number 0.
        predicted = Predicted(rows, estimator.images(inputs, score, known, first=1))
        predicted.draws.flags.writeable = False  # requests share it
        if predicted.draws.nbytes <= CACHED_BYTES:
            with self._lock:
                self._predicted[key] = predicted
        return predicted

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
