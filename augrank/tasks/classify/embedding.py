"""Embed the images of a batch: decoding overlaps with the backbone; a cache keeps the last ones.

Threads decode images straight into one batch; as soon as a backbone call pays off, it is made while
they decode the next (the decoders and the engines release Python's lock).
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from augrank.arrays import Float32Array
from augrank.bundle.classify_spec import ClassifySpec
from augrank.errors import AugrankError
from augrank.images.decode import DecodedImage, DecodeLimits, decode, working_image
from augrank.images.preprocess import KEPT_ROWS, BatchMemory, Normalizer
from augrank.models.backbone import Backbone
from augrank.models.embedding_cache import EmbeddedImage, EmbeddingCache, FileInfo
from augrank.tasks.classify.request import Image
from augrank.tasks.isolation import isolated

MAX_PREPARING = 4  # threads that decode beside the backbone
AS_IT_IS = ("original",)  # the one version of an image, in the embedding cache


@dataclass(frozen=True)
class EmbeddedBatch:
    """Images by sha256, each embedded or failed, and how long it took."""

    images: dict[str, EmbeddedImage | AugrankError]
    decode_s: float  # that the backbone waited for decoders
    embed_s: float


class ImageEmbedder:
    """Decodes and embeds images with one backbone. Thread-safe.

    Args:
        spec: of the bundle.
        backbone: a loaded graph of it.
        limits: larger images are rejected.
        threads: that may decode.
        cache: embeddings of the images that were asked about last.
    """

    def __init__(
        self,
        spec: ClassifySpec,
        backbone: Backbone,
        *,
        limits: DecodeLimits,
        threads: int,
        cache: EmbeddingCache,
    ) -> None:
        self._size, self._limits, self._backbone, self._cache = (
            spec.image_size, limits, backbone, cache,
        )  # fmt: skip
        self._normalizer = Normalizer(spec.mean, spec.std)
        self._memory = BatchMemory(spec.image_size)
        self._decoders = ThreadPoolExecutor(min(MAX_PREPARING, threads), "augrank-decode")

    def __call__(self, images: Mapping[str, Image]) -> EmbeddedBatch:
        """Embed images.

        Args:
            images: by sha256.
        """
        found: dict[str, EmbeddedImage | AugrankError] = {}
        for digest in images:
            if kept := self._cache.get(digest, AS_IT_IS, thumbnails=False):
                found[digest] = kept
        started, embed_s = time.perf_counter(), 0.0
        missing = [digest for digest in images if digest not in found]
        for start in range(0, len(missing), KEPT_ROWS):
            part = missing[start : start + KEPT_ROWS]
            for digests, decoded, rows in self._decoded(images, part):
                began = time.perf_counter()
                found |= self._embedded(digests, decoded, rows)
                embed_s += time.perf_counter() - began
        return EmbeddedBatch(found, time.perf_counter() - started - embed_s, embed_s)

    def decode(
        self, files: Mapping[str, bytes], limits: DecodeLimits
    ) -> list[DecodedImage | AugrankError]:
        """Decode files for a later call, which then takes them in place of the files.

        Args:
            files: by sha256.
            limits: larger images are rejected.
        """

        def decode_file(digest: str) -> DecodedImage:
            return replace(decode(files[digest], self._size, limits), sha256=digest)

        at_once = self._decoders.map if len(files) > 1 else map
        return list(at_once(lambda digest: isolated(decode_file, digest), files))

    def _decoded(
        self, images: Mapping[str, Image], digests: list[str]
    ) -> Iterator[tuple[list[str], list[FileInfo | AugrankError], Float32Array]]:
        """Decode images; yield as many together as make a backbone call, with their batch rows."""
        memory = self._memory.rows(len(digests))

        def decode_row(row: int) -> FileInfo | AugrankError:
            return isolated(self._decode, images[digests[row]], memory[row])

        run_ahead = self._decoders.map if len(digests) > 1 else map
        infos: Iterable[FileInfo | AugrankError] = run_ahead(decode_row, range(len(digests)))
        waiting: list[FileInfo | AugrankError] = []
        for end, info in enumerate(infos, start=1):
            waiting.append(info)
            if len(waiting) == self._backbone.rows_per_call or end == len(digests):
                start = end - len(waiting)
                yield digests[start:end], waiting, memory[start:end]
                waiting = []

    def _decode(self, image: Image, row: Float32Array) -> FileInfo:
        """Decode an image into its row of the batch."""
        decoded = working_image(image, self._size, self._limits)
        self._normalizer.into(decoded.pixels, row)
        return FileInfo(decoded.width, decoded.height, decoded.format)

    def _embedded(
        self, digests: list[str], decoded: list[FileInfo | AugrankError], rows: Float32Array
    ) -> dict[str, EmbeddedImage | AugrankError]:
        """Embed decoded images in one backbone call; the others keep their errors."""
        good = [row for row, info in enumerate(decoded) if isinstance(info, FileInfo)]
        found: dict[str, EmbeddedImage | AugrankError] = {
            digest: info
            for digest, info in zip(digests, decoded, strict=True)
            if isinstance(info, AugrankError)
        }
        if not good:
            return found
        batch = rows if len(good) == len(rows) else rows[good]
        result = isolated(self._backbone.embed, batch)
        for place, row in enumerate(good):
            digest, info = digests[row], decoded[row]
            if isinstance(result, AugrankError):
                found[digest] = result
            elif isinstance(info, FileInfo):
                found[digest] = image = EmbeddedImage(info, result[place : place + 1])
                self._cache.put(digest, AS_IT_IS, image)
        return found
