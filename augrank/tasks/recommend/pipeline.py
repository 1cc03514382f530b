"""The whole request, top to bottom: plan, decode, augment, embed, score, rank.

    request ─ plan ─ decode ─ candidates ─┐                    ┌─ head ─ rank ─ answer
    request ─ plan ─ decode ─ candidates ─┼─ batch ─ backbone ─┴─ head ─ rank ─ answer
    request ─ refused ────────────────────│──────────────────────────────────── error
    request ─ plan ─ answered before ─────┴──────────────────────────────────── answer

Candidates are written straight into one preallocated batch. Requests of one call are decoded and
augmented by a few threads while the backbone is busy with those before them (OpenCV, Pillow and
onnxruntime release Python's lock). What is wrong with one request is its own answer and nobody
else's.
"""

import functools
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.graphs import open_backbone
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendBundle, RecommendSpec
from augrank.bundle.spec import Precision
from augrank.errors import AugrankError
from augrank.images.decode import (
    FORMATS,
    DecodedImage,
    DecodeLimits,
    RgbImage,
    encode,
    working_image,
)
from augrank.images.preprocess import BatchMemory, Normalizer
from augrank.models.backbone import Embedding
from augrank.models.context import ContextEncoder
from augrank.models.engines import Device
from augrank.models.head import Head
from augrank.resources import usable_cores
from augrank.runtime.cache import AnswerCache
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.plan import Planner, RequestPlan
from augrank.tasks.recommend.ranking import (
    ScoredAlternates,
    rank_alternates,
    rank_candidates,
    thumbnail,
)
from augrank.tasks.recommend.request import DEFAULT_ALTERNATES, Request
from augrank.tasks.recommend.response import Answer, ImageInfo, Timings, verdict
from augrank.tasks.recommend.validate import check_widths

logger = logging.getLogger(__name__)
WARM_UP_ROUNDS = 2
MAX_PREPARING = 4  # threads that decode and augment beside the backbone
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Prepared:
    """A planned request whose candidates stand in the batch."""

    plan: RequestPlan
    image: DecodedImage
    rows: slice  # of the batch
    thumbnails: tuple[str, ...]  # one for each candidate, or none
    decode_ms: float
    augment_ms: float


class Recommender:
    """Answers which version of an image, or which other image, would do better.

    Thread-safe once loaded. One recommender holds one loaded graph.

    Args:
        bundle: a checked bundle.
        threads: of the backbone; by default every core that may be used.
        precision: of the graph; by default what suits the device best and passed its gate.
        device: ``auto`` takes a GPU where onnxruntime offers one, else onnxruntime on the CPU.
        spin: let the backbone's idle threads spin; only where nobody else needs the cores.
        cache_bytes: keep answers already given, up to so many bytes.
        limits: images beyond these are refused.
    """

    def __init__(
        self,
        bundle: RecommendBundle,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        cache_bytes: int = 0,
        limits: DecodeLimits = DecodeLimits(),
    ) -> None:
        spec = bundle.spec
        threads = threads or usable_cores()
        self.bundle, self.limits = bundle, limits
        self.precision, self.backbone = open_backbone(
            bundle, precision, threads=threads, device=device, spin=spin
        )
        self.cache = AnswerCache(cache_bytes)
        self._normalizer = Normalizer(spec.mean, spec.std)
        self._memory = BatchMemory(spec.image_size)
        self._preparers = ThreadPoolExecutor(min(MAX_PREPARING, threads), "augrank-prepare")
        self._context = ContextEncoder(spec.context)
        self._heads = {head.target.name: Head.load(head, bundle.directory) for head in spec.heads}
        self._alternates = (
            Alternates.load(spec.alternates, bundle.directory) if spec.alternates else None
        )
        self._planner = Planner(spec, self._heads, self._context, self._alternates)
        check_widths(spec, self.backbone, self._context, self._alternates)

    @classmethod
    def load(cls, bundle: Path | str, **options: Any) -> "Recommender":
        """Load a bundle directory.

        Args:
            bundle: the directory that ``python -m export build`` wrote.
            **options: those of the class.

        Raises:
            BundleError: what does not fit, and what to do.
        """
        return cls(load_bundle(bundle, RecommendSpec), **options)

    def recommend(
        self,
        image: bytes | Path | str | RgbImage,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        candidates: Sequence[str] | None = None,
        alternates: int = DEFAULT_ALTERNATES,
        thumbnails: bool = False,
    ) -> Answer:
        """Rank the candidates and alternates of one image.

        Args:
            image: a file's path or bytes, or uint8 (H, W, 3) RGB.
            target: what to predict; may be left out where the bundle has one head.
            context: column name to value, such as ``{"campaign_type": "Newsletter"}``.
            candidates: augmentation names; by default all of the bundle's.
            alternates: how many images of the catalogue to offer at most.
            thumbnails: whether scores carry small JPEGs.

        Raises:
            RequestError: what is wrong with the image, target, context or options.
        """
        data = Path(image).read_bytes() if isinstance(image, str | Path) else image
        names = tuple(candidates) if candidates is not None else None
        request = Request(data, target, context or {}, names, alternates, thumbnails)
        (answer,) = self.recommend_batch([request])
        if isinstance(answer, AugrankError):
            raise answer
        return answer

    def recommend_batch(self, requests: Sequence[Request]) -> list[Answer | AugrankError]:
        """Answer several requests together; an error stands in its own place."""
        planned = [_own_errors(self._plan, request) for request in requests]
        answers = self._run([item for item in planned if isinstance(item, RequestPlan)])
        return [answers[id(item)] if isinstance(item, RequestPlan) else item for item in planned]

    def warm_up(self) -> None:
        """Ask about a grey image, in every format and for every target, twice.

        So that the first request finds decoders, augmentations, graph, heads and alternates ready.
        """
        size = self.bundle.spec.image_size
        grey = np.full((size, size, 3), 128, np.uint8)
        context = self._context.example()
        first, *_ = self._heads
        formats = [Request(encode(grey, name), first, context) for name in FORMATS]
        targets = [Request(grey, target, context, candidates=()) for target in self._heads]
        requests = [*formats, *targets]
        for request in WARM_UP_ROUNDS * requests:
            (answer,) = self.recommend_batch([request])
            if isinstance(answer, AugrankError):
                raise answer

    # --- the stages -------------------------------------------------------------------------------

    def _plan(self, request: Request) -> RequestPlan | Answer:
        """The request's plan; the answer itself, where it was given before."""
        plan = self._planner.plan(request)
        known = self.cache.get(plan.cache_key) if self.cache.enabled else None
        if known is None:
            return plan
        spent = Timings(total=_ms(time.perf_counter() - plan.started))
        return known.model_copy(update={"cached": True, "timings_ms": spent})

    def _run(self, plans: Sequence[RequestPlan]) -> dict[int, Answer | AugrankError]:
        """Prepare ahead on threads; embed and answer as soon as a call is worth it.

        Requests about the same candidates of the same image, under other targets or contexts,
        are prepared and embedded once.

        Returns:
            Answers by ``id`` of the plan.
        """
        groups = list(_same_candidates(plans).values())
        first = [group[0] for group in groups]
        ends = np.cumsum([len(plan.augmentations) for plan in first], dtype=int).tolist()
        rows = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        memory = self._memory.rows(ends[-1] if ends else 0)
        prepare = functools.partial(_own_errors, self._prepare, memory)
        ahead = self._preparers.map if len(first) > 1 else map
        answers: dict[int, Answer | AugrankError] = {}
        waiting: list[_Prepared | AugrankError] = []
        begun = 0
        for number, item in enumerate(ahead(prepare, first, rows), start=1):
            waiting.append(item)
            if number == len(first) or _count(waiting) >= self.backbone.rows_per_call:
                answers |= self._answer_together(memory, waiting, groups[begun:number])
                waiting, begun = [], number
        return answers

    def _prepare(self, memory: Floats, plan: RequestPlan, rows: slice) -> _Prepared:
        """Decode a request's image and write its candidates into its rows of the batch."""
        started = time.perf_counter()
        image = working_image(plan.request.image, self.bundle.spec.image_size, self.limits)
        decoded = time.perf_counter()
        thumbnails = []
        for augmentation, row in zip(plan.augmentations, memory[rows], strict=True):
            candidate = augmentation.apply(image.pixels)
            self._normalizer.into(candidate, row)
            if plan.request.thumbnails:
                thumbnails.append(thumbnail(candidate))
        return _Prepared(
            plan,
            image,
            rows,
            tuple(thumbnails),
            decode_ms=_ms(decoded - started),
            augment_ms=_ms(time.perf_counter() - decoded),
        )

    def _answer_together(
        self,
        memory: Floats,
        prepared: Sequence[_Prepared | AugrankError],
        groups: Sequence[Sequence[RequestPlan]],
    ) -> dict[int, Answer | AugrankError]:
        """One backbone call for these images, then an answer for each plan of their groups."""
        good = [item for item in prepared if isinstance(item, _Prepared)]
        embedded = _own_errors(self._embed, memory, good)
        answers: dict[int, Answer | AugrankError] = {}
        start = 0
        for item, plans in zip(prepared, groups, strict=True):
            if isinstance(item, AugrankError):
                answers |= {id(plan): item for plan in plans}
            elif isinstance(embedded, AugrankError):  # ours: nobody's image can be answered
                answers |= {id(plan): embedded for plan in plans}
            else:
                embedding, embed_ms = embedded
                end = start + len(item.plan.augmentations)
                for plan in plans:
                    own = replace(item, plan=plan)
                    answers[id(plan)] = _own_errors(
                        self._answer, own, embedding[start:end], embed_ms
                    )
                start = end
        return answers

    def _embed(self, memory: Floats, good: Sequence[_Prepared]) -> tuple[Embedding | None, float]:
        """One backbone call for the candidates of these requests; the ms it took."""
        if not good:
            return None, 0.0
        started = time.perf_counter()
        first, last = good[0].rows.start, good[-1].rows.stop
        batch = memory[first:last]
        if len(batch) > _count(good):  # a refused request between them left its rows empty
            batch = np.concatenate([memory[item.rows] for item in good])
        return self.backbone.embed(batch), _ms(time.perf_counter() - started)

    def _answer(self, item: _Prepared, embedding: Embedding, embed_ms: float) -> Answer:
        """Score and rank one request's candidates and alternates."""
        plan, target = item.plan, item.plan.head.spec.target
        scoring = time.perf_counter()
        scores = plan.head.predict(
            logits=embedding.logits, features=embedding.features, context=plan.context
        )
        catalogue = self._score_alternates(plan)
        ranking = time.perf_counter()
        original = round(float(scores[0]), 6)
        candidates = rank_candidates(plan.augmentations, scores, target.direction, item.thumbnails)
        alternates = rank_alternates(catalogue, target.direction, original)
        best_candidate = candidates[0].model_copy(update={"thumbnail": None})
        best_alternate = (
            alternates[0].model_copy(update={"thumbnail": None}) if alternates else None
        )
        done = time.perf_counter()
        answer = Answer(
            model=self.bundle.spec.name,
            bundle_version=self.bundle.version,
            image=ImageInfo(
                sha256=plan.sha256,
                width=item.image.width,
                height=item.image.height,
                format=item.image.format,
            ),
            target=target.name,
            direction=target.direction,
            context=dict(plan.request.context),
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
                total=_ms(done - plan.started),
            ),
        )
        if self.cache.enabled:
            self.cache.put(plan.cache_key, answer)
        return answer

    def _score_alternates(self, plan: RequestPlan) -> ScoredAlternates | None:
        if self._alternates is None or plan.request.alternates == 0:
            return None
        return ScoredAlternates(
            self._alternates,
            self._alternates.score(plan.head, plan.context),
            plan.request.alternates,
            plan.product_type,
            plan.sha256,
            plan.request.thumbnails,
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


def _same_candidates(plans: Sequence[RequestPlan]) -> dict[Any, list[RequestPlan]]:
    """Plans by what of them decides the batch's rows, in order of appearance."""
    groups: dict[Any, list[RequestPlan]] = {}
    for plan in plans:
        names = tuple(augmentation.name for augmentation in plan.augmentations)
        groups.setdefault((plan.sha256, names, plan.request.thumbnails), []).append(plan)
    return groups


def _count(prepared: Sequence[_Prepared | AugrankError]) -> int:
    """Candidates of those requests that can be answered."""
    return sum(len(item.plan.augmentations) for item in prepared if isinstance(item, _Prepared))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
