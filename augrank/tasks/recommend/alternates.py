"""The catalogue's other images, embedded at export, scored per request without the backbone."""

import base64
import json
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.spec import AlternatesSpec
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

    Scores depend on the target and the context alone, so the last few are kept.
    """

    def __init__(
        self, images: list[CatalogueImage], embedding: Embedding, thumbnails: tuple[bytes, ...]
    ) -> None:
        self.images, self.embedding, self._thumbnails = images, embedding, thumbnails
        types = [str(image.attributes.get(PRODUCT_TYPE, "")) for image in images]
        self._types = np.array(types, dtype=object)
        self._sha256 = np.array([image.sha256 for image in images], dtype=object)
        self._known_types = Vocabulary(sorted({name for name in self._types.tolist() if name}))
        self._scores: OrderedDict[tuple[str, bytes], NDArray[np.float64]] = OrderedDict()
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
                "the alternates index does not fit together",
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
            BadContext: names the types that there are.
        """
        text, known = str(product_type), self._known_types.values
        found = self._known_types.find(text)
        if found is None:
            raise BadContext(
                "the catalogue has no images of this product type",
                expected=one_of(known, text) if known else "no product type",
                got=repr(product_type),
                remedy=self._known_types.remedy(
                    text, "Leave product_type out to get alternates of the image's own type."
                ),
            )
        return found

    def score(self, head: Head, context: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of every catalogue image as it is, float64 (M,), for one context (C,)."""
        key = (head.spec.target.name, context.tobytes())
        with self._lock:
            if key in self._scores:
                self._scores.move_to_end(key)
                return self._scores[key]
        scores = head.predict(
            logits=self.embedding.logits, features=self.embedding.features, context=context
        )
        with self._lock:
            self._scores[key] = scores
            while len(self._scores) > CACHED_SCORES:
                self._scores.popitem(last=False)
        return scores

    def best(
        self,
        scores: NDArray[np.float64],
        *,
        count: int,
        minimize: bool,
        product_type: str | None,
        image_sha256: str,
    ) -> list[int]:
        """Rows of the best alternates, best first; ties by catalogue order.

        Args:
            scores: float64 (M,), of ``score``.
            count: how many at most.
            minimize: whether a low score is good.
            product_type: only images of this type; by default that of the request's image
                where the catalogue knows it, else any.
            image_sha256: of the request's image, which is no alternate to itself.
        """
        own = self._sha256 == image_sha256
        if product_type is None and own.any():
            product_type = self._types[int(np.argmax(own))]
        allowed = ~own
        if product_type:
            allowed &= self._types == product_type
        rows = np.flatnonzero(allowed)
        order = np.argsort(scores[rows] if minimize else -scores[rows], kind="stable")
        return [int(row) for row in rows[order[:count]]]

    def thumbnail(self, row: int) -> str | None:
        """The image as base64 JPEG, where the bundle carries thumbnails."""
        if not self._thumbnails:
            return None
        return base64.b64encode(self._thumbnails[row]).decode()
