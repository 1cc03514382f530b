"""The stages of a batch, after planning: decode, augment, embed, score, rank.

    plan ─ decode ─ candidates ─┐                    ┌─ head ─ rank ─ answer
    plan ─ decode ─ candidates ─┼─ batch ─ backbone ─┴─ head ─ rank ─ answer
    plan ─ broken image ────────┴──────────────────────────────────── error

Candidates are written straight into one preallocated batch. Requests of one call are decoded and
augmented by a few threads while the backbone processes those before them (OpenCV, Pillow and
onnxruntime release Python's lock).
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from augrank.arrays import Float32Array
from augrank.bundle.graphs import OpenGraph
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import AugrankError
from augrank.images.decode import DecodeLimits, RgbImage, working_image
from augrank.images.preprocess import BatchMemory, Normalizer
from augrank.models.backbone import Embedding
from augrank.models.embedding_cache import EmbeddedImage, EmbeddingCache, FileInfo
from augrank.models.head import HeadRows
from augrank.tasks.isolation import isolated
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.plan import RequestPlan
from augrank.tasks.recommend.ranking import (
    RankedAlternates,
    rank_alternates,
    rank_candidates,
    thumbnail,
)
from augrank.tasks.recommend.response import Answer, ImageInfo, Timings
from augrank.trust.posterior import ImageEffects

MAX_PREPARING = 4  # threads that decode and augment beside the backbone
Numbered = tuple[int, Answer | AugrankError]  # a plan's place in the batch, and its answer


@dataclass(frozen=True)
class _Prepared:
    """A planned request whose candidates are in the batch."""

    plan: RequestPlan
    info: FileInfo
    rows: slice  # of the batch
    thumbnails: tuple[str, ...]  # one for each candidate, or none
    decode_ms: float
    augment_ms: float


@dataclass(frozen=True)
class _Times:
    """Milliseconds until the candidates were embedded; zero if the cache had them."""

    decode: float = 0.0
    augment: float = 0.0
    embed: float = 0.0


class Stages:
    """Answers plans with one loaded graph. Thread-safe.

    Args:
        bundle: whose answers they are.
        graph: the bundle's, that was chosen.
        alternates: the bundle's catalogue, if it has one.
        limits: larger images are rejected.
        preparing: threads that decode and augment.
        cache: embeddings of the images that were asked about last.
    """

    def __init__(
        self,
        bundle: RecommendBundle,
        graph: OpenGraph,
        alternates: Alternates | None,
        *,
        limits: DecodeLimits,
        preparing: int,
        cache: EmbeddingCache,
    ) -> None:
        spec = bundle.spec
        self._bundle, self._backbone, self._alternates = bundle, graph.backbone, alternates
        self._limits, self._cache = limits, cache
        self._engine = graph.engine
        self._normalizer = Normalizer(spec.mean, spec.std)
        self._memory = BatchMemory(spec.image_size)
        self._preparers = ThreadPoolExecutor(min(MAX_PREPARING, preparing), "augrank-prepare")

    def embed(self, image: bytes | RgbImage) -> Embedding:
        """Embed one image, without augmentation.

        Raises:
            RequestError: it cannot be decoded.
        """
        size = self._bundle.spec.image_size
        pixels = working_image(image, size, self._limits).pixels
        return self._backbone.embed(self._normalizer.batch([pixels]))

    def answer(self, plans: Sequence[RequestPlan]) -> list[Answer | AugrankError]:
        """Prepare requests on threads; embed and answer as soon as a backbone call pays off.

        Requests about the same candidates of the same image, under other targets or contexts,
        are prepared and embedded once; if the cache has them, not at all.
        """
        answers: dict[int, Answer | AugrankError] = {}
        groups = []
        for group in _same_candidates(plans):
            if image := self._cached(plans[group[0]]):
                for place in group:
                    answers[place] = isolated(self._score_and_rank, plans[place], image, _Times())
            else:
                groups.append(group)
        first = [plans[group[0]] for group in groups]
        ends = np.cumsum([len(plan.augmentations) for plan in first], dtype=int).tolist()
        rows = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        memory = self._memory.rows(ends[-1] if ends else 0)

        def prepare(plan: RequestPlan, rows: slice) -> _Prepared | AugrankError:
            return isolated(self._prepare, memory, plan, rows)

        run_ahead = self._preparers.map if len(first) > 1 else map
        waiting: list[_Prepared | AugrankError] = []
        begun = 0
        for number, item in enumerate(run_ahead(prepare, first, rows), start=1):
            waiting.append(item)
            if number == len(first) or _count(waiting) >= self._backbone.rows_per_call:
                answers |= self._answer_together(memory, waiting, plans, groups[begun:number])
                waiting, begun = [], number
        return [answers[place] for place in range(len(plans))]

    def _cached(self, plan: RequestPlan) -> EmbeddedImage | None:
        return self._cache.get(plan.sha256, plan.names, thumbnails=plan.request.thumbnails)

    def _prepare(self, memory: Float32Array, plan: RequestPlan, rows: slice) -> _Prepared:
        """Decode a request's image and write its candidates into its rows of the batch."""
        started = time.perf_counter()
        image = working_image(plan.request.image, self._bundle.spec.image_size, self._limits)
        decoded = time.perf_counter()
        thumbnails = []
        for augmentation, row in zip(plan.augmentations, memory[rows], strict=True):
            candidate = augmentation.apply(image.pixels)
            self._normalizer.into(candidate, row)
            if plan.request.thumbnails:
                thumbnails.append(thumbnail(candidate))
        return _Prepared(
            plan,
            FileInfo(image.width, image.height, image.format),
            rows,
            tuple(thumbnails),
            decode_ms=_ms(decoded - started),
            augment_ms=_ms(time.perf_counter() - decoded),
        )

    def _answer_together(
        self,
        memory: Float32Array,
        prepared: Sequence[_Prepared | AugrankError],
        plans: Sequence[RequestPlan],
        groups: Sequence[Sequence[int]],
    ) -> Iterable[Numbered]:
        """Embed these images in one backbone call, then answer each plan of their groups.

        Args:
            memory: the batch that the candidates were written into.
            prepared: one per group.
            plans: all plans of the batch.
            groups: places in ``plans`` of those that each prepared image answers.
        """
        started = time.perf_counter()
        good = [item for item in prepared if isinstance(item, _Prepared)]
        embedded = isolated(self._embed, memory, good) if good else None
        embed_ms, start = _ms(time.perf_counter() - started), 0
        for item, places in zip(prepared, groups, strict=True):
            if isinstance(item, AugrankError):
                yield from ((place, item) for place in places)
                continue
            end = start + len(item.plan.augmentations)
            if isinstance(embedded, Embedding):
                image = EmbeddedImage(item.info, embedded[start:end], item.thumbnails)
                self._cache.put(item.plan.sha256, item.plan.names, image)
                times = _Times(item.decode_ms, item.augment_ms, embed_ms)
                for place in places:
                    yield place, isolated(self._score_and_rank, plans[place], image, times)
            elif embedded is not None:  # internal error: none of these images can be answered
                yield from ((place, embedded) for place in places)
            start = end

    def _embed(self, memory: Float32Array, good: Sequence[_Prepared]) -> Embedding:
        """Embed the candidates of these requests in one backbone call."""
        first, last = good[0].rows.start, good[-1].rows.stop
        batch = memory[first:last]
        if len(batch) > _count(good):  # a rejected request between them left its rows empty
            batch = np.concatenate([memory[item.rows] for item in good])
        return self._backbone.embed(batch)

    def _score_and_rank(self, plan: RequestPlan, image: EmbeddedImage, times: _Times) -> Answer:
        """Score and rank one request's candidates and alternates."""
        embedding = image.embedding
        scoring = time.perf_counter()
        rows = HeadRows(plan.applied, embedding.logits, embedding.features, plan.context)
        catalogue, alternates = self._alternates, RankedAlternates()
        known = catalogue.known(plan.estimator, plan.sha256) if catalogue else None
        draws = plan.estimator.candidates(rows, known or ImageEffects.unknown(1))
        others = catalogue.predict(plan) if catalogue and plan.request.alternates else None
        ranking = time.perf_counter()
        candidates = rank_candidates(plan, draws, image.thumbnails)
        if catalogue and others is not None:
            alternates = rank_alternates(plan, catalogue, *others, draws[:, 0])
        done = time.perf_counter()
        return Answer(
            model=self._bundle.spec.name,
            bundle_version=self._bundle.version,
            engine=self._engine,
            image=ImageInfo(
                sha256=plan.sha256,
                width=image.info.width,
                height=image.info.height,
                format=image.info.format,
            ),
            target=plan.target.name,
            direction=plan.target.direction,
            context=dict(plan.request.context),
            augmentation=plan.request.augmentation,
            min_lift=plan.request.min_lift,
            probability=candidates.original.probability,
            interval=candidates.original.interval,
            candidates=candidates.scores,
            best_candidate=candidates.best,
            verdict=candidates.verdict,
            alternates=alternates.scores,
            best_alternate=alternates.best,
            alternate_verdict=alternates.verdict,
            timings_ms=Timings(
                decode=times.decode,
                augment=times.augment,
                embed=times.embed,
                score=_ms(ranking - scoring),
                rank=_ms(done - ranking),
                total=_ms(done - plan.started),
            ),
        )


def _same_candidates(plans: Sequence[RequestPlan]) -> list[list[int]]:
    """Group the places of plans whose rows of the batch are the same, in order of appearance."""
    groups: dict[tuple[str, tuple[str, ...], bool], list[int]] = {}
    for place, plan in enumerate(plans):
        groups.setdefault((plan.sha256, plan.names, plan.request.thumbnails), []).append(place)
    return list(groups.values())


def _count(prepared: Sequence[_Prepared | AugrankError]) -> int:
    """Count the candidates of the requests that can be answered."""
    return sum(len(item.plan.augmentations) for item in prepared if isinstance(item, _Prepared))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
