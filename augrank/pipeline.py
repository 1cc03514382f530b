"""The whole request, top to bottom: decode, augment, embed, score, rank.

    bytes ─ decode ─ candidates ─┐
    bytes ─ decode ─ candidates ─┼─ one batch ─ backbone ─┬─ head ─ rank ─ answer
    bytes ─ refused ─────────────┘                        └─ head ─ rank ─ answer
              └─────────────────────────────────────────────────────────── error

Several requests share one backbone call. What is wrong with one of them is its own answer and
nobody else's.
"""

import base64
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.alternates import PRODUCT_TYPE, Alternates
from augrank.answer import (
    AlternateScore,
    Answer,
    CandidateScore,
    PictureInfo,
    Timings,
    score_against,
    verdict,
)
from augrank.augmentations import ORIGINAL, Augmentation
from augrank.backbone import Backbone, Device, Embedding
from augrank.bundle import BUNDLE_FILE, Bundle, Precision, load_bundle
from augrank.context import ContextEncoder
from augrank.cores import usable_cores
from augrank.decode import (
    FORMATS,
    DecodedPicture,
    DecodeLimits,
    Picture,
    decode,
    encode,
    letterbox,
    sha256_of_pixels,
)
from augrank.errors import AugrankError, BadRequest, BundleError, one_of
from augrank.heads import Head
from augrank.preprocess import Normalizer
from augrank.wire import DEFAULT_ALTERNATES, MAX_ALTERNATES, Request

logger = logging.getLogger(__name__)
WARM_UP_ROUNDS = 2


@dataclass
class _Prepared:
    """A request on its way: its candidates are made, its rows in the batch are known."""

    request: Request
    head: Head
    context: NDArray[np.float32]
    product_type: str | None  # that alternates are to be of; None for the picture's own
    picture: DecodedPicture
    augmentations: tuple[Augmentation, ...]  # the original first
    candidates: list[Picture]
    decode_ms: float
    augment_ms: float
    started: float


class Recommender:
    """Answers which version of a picture, or which other picture, would do better.

    Thread-safe once loaded. One recommender holds one onnxruntime session.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        limits: DecodeLimits = DecodeLimits(),
    ) -> None:
        spec = bundle.spec
        self.bundle, self.limits = bundle, limits
        self.precision: Precision = precision or spec.precision
        self.backbone = Backbone(
            bundle.graph(precision), threads=threads or usable_cores(), device=device
        )
        self._normalizer = Normalizer(spec.mean, spec.std)
        self._context = ContextEncoder(spec.context)
        self._heads = {head.target.name: Head.load(head, bundle.directory) for head in spec.heads}
        self._alternates = (
            Alternates.load(spec.alternates, bundle.directory) if spec.alternates else None
        )

        self._check_widths()

    @classmethod
    def load(cls, bundle: Path | str, **options: Any) -> "Recommender":
        """Load a bundle directory.

        Args:
            bundle: the directory that ``python -m export build`` wrote.
            **options: ``threads``, ``precision`` (fp32 or int8), ``device``, ``limits``.

        Raises:
            BundleError: what does not fit, and what to do.
        """
        return cls(load_bundle(bundle), **options)

    def recommend(
        self,
        image: bytes | Path | str | Picture,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        candidates: Sequence[str] | None = None,
        alternates: int = DEFAULT_ALTERNATES,
        thumbnails: bool = False,
    ) -> Answer:
        """Rank the candidates and alternates of one picture.

        Args:
            image: a file's path or bytes, or uint8 (H, W, 3) RGB.
            target: what to predict; may be left out where the bundle has one head.
            context: column name to value, such as ``{"campaign_type": "Newsletter"}``.
            candidates: augmentation names; by default all of the bundle's.
            alternates: how many pictures of the catalogue to offer at most.
            thumbnails: whether scores carry small JPEGs.

        Raises:
            RequestError: what is wrong with the picture, target, context or options.
        """
        picture = Path(image).read_bytes() if isinstance(image, str | Path) else image
        names = tuple(candidates) if candidates is not None else None
        request = Request(picture, target, context or {}, names, alternates, thumbnails)
        (answer,) = self.recommend_batch([request])
        if isinstance(answer, AugrankError):
            raise answer
        return answer

    def recommend_batch(self, requests: Sequence[Request]) -> list[Answer | AugrankError]:
        """Answer several requests with one backbone call; an error stands in its own place."""
        prepared = [_own_errors(self._prepare, request) for request in requests]
        good = [item for item in prepared if isinstance(item, _Prepared)]
        embedded = _own_errors(self._embed, good)
        if isinstance(embedded, AugrankError):  # ours: nobody's picture can be answered
            return [embedded if isinstance(item, _Prepared) else item for item in prepared]
        embeddings, embed_ms = embedded
        answers: list[Answer | AugrankError] = []
        for item in prepared:
            if isinstance(item, _Prepared):
                answers.append(_own_errors(self._answer, item, next(embeddings), embed_ms))
            else:
                answers.append(item)
        return answers

    def warm_up(self) -> None:
        """Ask about a grey picture in every format and for every target, twice.

        So that the first request finds decoders, augmentations, graph, heads and alternates ready.
        """
        size = self.bundle.spec.image_size
        grey = np.full((size, size, 3), 128, np.uint8)
        context = self._context.example()
        requests = [
            Request(encode(grey, file_format), target, context)
            for file_format in FORMATS
            for target in self._heads
        ]
        for request in WARM_UP_ROUNDS * requests:
            (answer,) = self.recommend_batch([request])
            if isinstance(answer, AugrankError):
                raise answer

    def embed_pictures(self, pictures: list[Picture]) -> Embedding:
        """Embed working pictures, uint8 (S, S, 3) RGB each."""
        return self.backbone.embed(self._normalizer.batch(pictures))

    def _check_widths(self) -> None:
        """Graph, heads and alternates must be of the widths that bundle.json says.

        Raises:
            BundleError: names the part that is not.
        """
        spec, backbone = self.bundle.spec, self.backbone
        features, logits = spec.feature_width, len(spec.augmentations.names)
        parts = {"features": features, "logits": logits, "context": self._context.width}
        found: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
            "graph": ((backbone.feature_width, backbone.augmentation_count), (features, logits))
        }
        for head in spec.heads:
            found[head.file] = ((head.width,), (sum(parts[name] for name in head.inputs),))
        if self._alternates is not None:
            index = self._alternates.embedding
            widths = (index.features.shape[1], index.logits.shape[1])
            found["alternates"] = (widths, (features, logits))
        for name, (got, expected) in found.items():
            if got != expected:
                raise BundleError(
                    f"the {name} does not fit {BUNDLE_FILE}",
                    expected=f"widths {expected}",
                    got=str(got),
                    remedy="Export the run again.",
                )

    # --- the stages -------------------------------------------------------------------------------

    def _prepare(self, request: Request) -> _Prepared:
        """Check the request, decode its picture, make its candidates."""
        started = time.perf_counter()
        if not 0 <= request.alternates <= MAX_ALTERNATES:
            raise BadRequest(
                "the number of alternates does not fit",
                expected=f"0 to {MAX_ALTERNATES}",
                got=str(request.alternates),
            )
        head = self._heads[self.bundle.spec.head(request.target).target.name]
        context, product_type = self._read_context(request.context)
        augmentations = self._augmentations(request.candidates)
        picture = self._decode(request.picture)
        decoded = time.perf_counter()
        candidates = [augmentation.apply(picture.pixels) for augmentation in augmentations]
        return _Prepared(
            request,
            head,
            context,
            product_type,
            picture,
            augmentations,
            candidates,
            decode_ms=_ms(decoded - started),
            augment_ms=_ms(time.perf_counter() - decoded),
            started=started,
        )

    def _read_context(self, context: Mapping[str, Any]) -> tuple[NDArray[np.float32], str | None]:
        """The encoded context, and the product type that alternates are to be of.

        A product type may always be given: it chooses alternates even where no head looks at it.
        """
        product_type = context.get(PRODUCT_TYPE) or None
        if self._alternates is not None and PRODUCT_TYPE not in self._context.names:
            context = {name: value for name, value in context.items() if name != PRODUCT_TYPE}
            if product_type is not None:
                product_type = self._alternates.check_type(product_type)
        return self._context.encode(context), product_type

    def _decode(self, picture: bytes | Picture) -> DecodedPicture:
        size = self.bundle.spec.image_size
        if isinstance(picture, bytes | bytearray | memoryview):
            return decode(bytes(picture), size, self.limits)
        array = np.asarray(picture)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise BadRequest(
                "the array is no picture",
                expected="uint8 (H, W, 3), RGB",
                got=f"{array.dtype} {array.shape}",
            )
        height, width = picture.shape[:2]
        digest = sha256_of_pixels(picture)
        return DecodedPicture(letterbox(picture, size), width, height, "array", digest)

    def _augmentations(self, names: tuple[str, ...] | None) -> tuple[Augmentation, ...]:
        """The wanted augmentations in the bundle's order, the original always among them."""
        offered = self.bundle.spec.augmentations
        if names is None:
            return offered.augmentations
        for name in names:
            if name not in offered.names:
                raise BadRequest(
                    "the candidate is not known to this bundle",
                    expected=one_of(offered.names, name),
                    got=repr(name),
                )
        return tuple(a for a in offered.augmentations if a.name in {ORIGINAL, *names})

    def _embed(self, prepared: list[_Prepared]) -> tuple[Any, float]:
        """One backbone call for all candidates; an iterator of each request's rows, and the ms."""
        if not prepared:
            return iter(()), 0.0
        started = time.perf_counter()
        whole = self.embed_pictures([picture for item in prepared for picture in item.candidates])
        ends = np.cumsum([len(item.candidates) for item in prepared])
        starts = [0, *ends[:-1]]
        parts = [whole[slice(int(a), int(b))] for a, b in zip(starts, ends, strict=True)]
        return iter(parts), _ms(time.perf_counter() - started)

    def _answer(self, item: _Prepared, embedding: Embedding, embed_ms: float) -> Answer:
        """Score and rank one request's candidates and alternates."""
        scoring = time.perf_counter()
        scores = item.head.predict(
            logits=embedding.logits, features=embedding.features, context=item.context
        )
        catalogue = self._score_alternates(item)
        ranking = time.perf_counter()
        target, original = item.head.spec.target, round(float(scores[0]), 6)
        candidates = self._rank_candidates(item, scores)
        alternates = self._rank_alternates(item, catalogue, original)
        best_candidate = candidates[0].model_copy(update={"thumbnail": None})
        best_alternate = (
            alternates[0].model_copy(update={"thumbnail": None}) if alternates else None
        )
        done = time.perf_counter()
        return Answer(
            model=self.bundle.spec.name,
            bundle_version=self.bundle.version,
            picture=PictureInfo(
                sha256=item.picture.sha256,
                width=item.picture.width,
                height=item.picture.height,
                format=item.picture.format,
            ),
            target=target.name,
            direction=target.direction,
            context=dict(item.request.context),
            probability=original,
            candidates=candidates,
            best_candidate=best_candidate,
            alternates=alternates,
            best_alternate=best_alternate,
            verdict=verdict(
                target.name, target.direction, original, best_candidate, best_alternate
            ),
            timings_ms=Timings(
                decode=item.decode_ms,
                augment=item.augment_ms,
                embed=embed_ms,
                score=_ms(ranking - scoring),
                rank=_ms(done - ranking),
                total=_ms(done - item.started),
            ),
        )

    def _rank_candidates(
        self, item: _Prepared, scores: NDArray[np.float64]
    ) -> tuple[CandidateScore, ...]:
        """Best first. Ties keep the bundle's order, so the original wins them."""
        minimize = item.head.spec.target.direction == "minimize"
        shown = np.round(scores, 6)
        order = np.argsort(shown if minimize else -shown, kind="stable")
        return tuple(
            CandidateScore(
                **score_against(float(scores[row]), float(scores[0])),
                name=item.augmentations[row].name,
                parameters=item.augmentations[row].parameters(),
                thumbnail=_thumbnail(item.candidates[row]) if item.request.thumbnails else None,
            )
            for row in order
        )

    def _score_alternates(self, item: _Prepared) -> NDArray[np.float64] | None:
        if self._alternates is None or item.request.alternates == 0:
            return None
        return self._alternates.score(item.head, item.context)

    def _rank_alternates(
        self, item: _Prepared, scores: NDArray[np.float64] | None, original: float
    ) -> tuple[AlternateScore, ...]:
        if self._alternates is None or scores is None:
            return ()
        rows = self._alternates.best(
            scores,
            count=item.request.alternates,
            minimize=item.head.spec.target.direction == "minimize",
            product_type=item.product_type,
            picture_sha256=item.picture.sha256,
        )
        pictures = self._alternates.pictures
        return tuple(
            AlternateScore(
                **score_against(float(scores[row]), original),
                path=pictures[row].path,
                attributes=pictures[row].attributes,
                thumbnail=self._alternates.thumbnail(row) if item.request.thumbnails else None,
            )
            for row in rows
        )


def _own_errors(stage: Any, *arguments: Any) -> Any:
    """Run one request's stage; what goes wrong becomes that request's answer.

    A fault of ours is logged with its traceback and answered without it.
    """
    try:
        return stage(*arguments)
    except AugrankError as error:
        if error.status >= 500:
            logger.exception("request failed")
        return error
    except Exception:
        logger.exception("request failed")
        return AugrankError("the request failed inside the server", remedy="See the server's log.")


def _thumbnail(picture: Picture) -> str:
    return base64.b64encode(encode(picture)).decode()


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
