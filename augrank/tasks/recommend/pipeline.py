"""The whole request, top to bottom: plan, decode, augment, embed, score, rank.

    request ─ plan ─ decode ─ candidates ─┐                    ┌─ head ─ rank ─ answer
    request ─ plan ─ decode ─ candidates ─┼─ batch ─ backbone ─┴─ head ─ rank ─ answer
    request ─ refused ────────────────────┴──────────────────────────────────── error

Candidates are written straight into one preallocated batch. Requests of one call are decoded and
augmented by a few threads while the backbone processes those before them (OpenCV, Pillow and
onnxruntime release Python's lock). One bad request gets an error as its answer and does not affect
the others.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augrank.arrays import Float32Array
from augrank.bundle.graphs import open_backbone
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendBundle, RecommendSpec
from augrank.bundle.spec import Bundle, BundleSpec, Precision
from augrank.errors import AugrankError
from augrank.images.augmentations import ORIGINAL
from augrank.images.decode import (
    DecodedImage,
    DecodeLimits,
    RgbImage,
    encode,
    working_image,
)
from augrank.images.preprocess import BatchMemory, Normalizer
from augrank.models.backbone import Embedding
from augrank.models.context import ContextEncoder
from augrank.models.engines import CPU, Device
from augrank.models.head import HeadRows
from augrank.resources import usable_cores
from augrank.tasks.base import EngineOptions, RequestBody
from augrank.tasks.isolation import isolated, pass_good
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.plan import Planner, RequestPlan
from augrank.tasks.recommend.ranking import (
    RankedAlternates,
    rank_alternates,
    rank_candidates,
    thumbnail,
)
from augrank.tasks.recommend.request import DEFAULT_ALTERNATES, Request, parse_request
from augrank.tasks.recommend.response import Answer, ImageInfo, Timings
from augrank.tasks.recommend.smoke import smoke_difference
from augrank.tasks.recommend.validate import check_widths
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects

WARM_UP_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
WARM_UP_ROUNDS = 2
MAX_PREPARING = 4  # threads that decode and augment beside the backbone
Numbered = tuple[int, Answer | AugrankError]  # a plan's place in the batch, and its answer


@dataclass(frozen=True)
class _Prepared:
    """A planned request whose candidates are in the batch."""

    plan: RequestPlan
    image: DecodedImage
    rows: slice  # of the batch
    thumbnails: tuple[str, ...]  # one for each candidate, or none
    decode_ms: float
    augment_ms: float


@dataclass(frozen=True)
class _Embedded:
    """The backbone's output for a batch, shared by the requests in it."""

    embedding: Embedding
    embed_ms: float


def load_task(bundle: Bundle[BundleSpec], options: EngineOptions) -> "Recommender":
    """Load the task ``recommend``, for ``augrank.tasks.base.load_task``."""
    assert isinstance(bundle.spec, RecommendSpec)
    return Recommender(
        Bundle(bundle.directory, bundle.spec, bundle.digest),
        threads=options.threads,
        precision=options.precision,
        device=options.device,
        spin=options.spin,
    )


class Recommender:
    """Predict which version of an image, or which other image, would do better.

    Thread-safe once loaded. One recommender holds one loaded graph.

    Args:
        bundle: a checked bundle.
        threads: of the backbone; by default every core that may be used.
        precision: of the graph; by default the one that suits the device best and passed the parity
            gate.
        device: ``auto`` uses a GPU if onnxruntime offers one, else onnxruntime on the CPU.
        spin: let the backbone's idle threads spin; only useful if no other process needs the cores.
        limits: larger images are rejected.
    """

    def __init__(
        self,
        bundle: RecommendBundle,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        limits: DecodeLimits = DecodeLimits(),
    ) -> None:
        spec = bundle.spec
        threads = threads or usable_cores()
        self.bundle, self.limits = bundle, limits
        self.precision, self.backbone = open_backbone(
            bundle, precision, threads=threads, device=device, spin=spin
        )
        self._normalizer = Normalizer(spec.mean, spec.std)
        self._memory = BatchMemory(spec.image_size)
        self._preparers = ThreadPoolExecutor(min(MAX_PREPARING, threads), "augrank-prepare")
        self._context = ContextEncoder(spec.context)
        self._estimators = {
            head.target.name: Estimator.load(head, bundle.directory) for head in spec.heads
        }
        original = spec.augmentations.names.index(ORIGINAL)
        self._alternates = (
            Alternates.load(spec.alternates, bundle.directory, original)
            if spec.alternates
            else None
        )
        self._planner = Planner(spec, self._estimators, self._context, self._alternates)
        check_widths(
            spec, self.backbone, self._context, self._alternates, self._estimators.values()
        )

    @classmethod
    def load(
        cls,
        bundle: Path | str,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        limits: DecodeLimits = DecodeLimits(),
    ) -> "Recommender":
        """Load a bundle directory, which ``python -m export build`` wrote.

        Args:
            bundle: the directory.
            threads: the backbone's threads; by default every core that may be used.
            precision: the graph's precision; by default the one that suits the device best.
            device: ``auto`` uses a GPU if onnxruntime offers one, else the CPU.
            spin: let the backbone's idle threads spin.
            limits: larger images are rejected.

        Raises:
            BundleError: a part is incompatible; gives the remedy.
        """
        loaded = load_bundle(bundle, RecommendSpec)
        return cls(
            loaded, threads=threads, precision=precision, device=device, spin=spin, limits=limits
        )

    @property
    def engine(self) -> str:
        """The graph's precision, the provider and the type of its floating point arithmetic."""
        return f"{self.precision} on {self.backbone.provider} ({self.backbone.arithmetic})"

    def recommend(  # noqa: PLR0913 - the fields of a request
        self,
        image: bytes | Path | str | RgbImage,
        target: str | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        candidates: Sequence[str] | None = None,
        alternates: int = DEFAULT_ALTERNATES,
        thumbnails: bool = False,
        augmentation: str = ORIGINAL,
        min_lift: float = 0.0,
    ) -> Answer:
        """Rank the candidates and alternates of one image.

        Args:
            image: a file's path or bytes, or uint8 (H, W, 3) RGB.
            target: the target to predict; optional if the bundle has one head.
            context: column name to value, such as ``{"campaign_type": "Newsletter"}``.
            candidates: augmentation names; by default all of the bundle's.
            alternates: maximum number of catalogue images to offer.
            thumbnails: whether scores include small JPEGs.
            augmentation: the augmentation that was already applied to the image.
            min_lift: relative change that the lower bound of a recommended option exceeds.

        Raises:
            RequestError: the image, target, context or options are invalid.
        """
        data = Path(image).read_bytes() if isinstance(image, str | Path) else image
        names = tuple(candidates) if candidates is not None else None
        request = Request(
            data, target, context or {}, names, alternates, thumbnails, augmentation, min_lift
        )
        (answer,) = self.recommend_batch([request])
        if isinstance(answer, AugrankError):
            raise answer
        return answer

    def recommend_batch(self, requests: Sequence[Request]) -> list[Answer | AugrankError]:
        """Answer several requests together; a failed one gets an error in its place."""
        return pass_good([isolated(self.plan, request) for request in requests], self.answer)

    def warm_up(self) -> None:
        """Answer for a grey image in every format and for every target, twice.

        The first request is then not slowed by decoders, augmentations, graph, heads or alternates.
        Last, the bundle's smoke request must be answered as at export.

        Raises:
            BundleError: it is answered otherwise.
        """
        size = self.bundle.spec.image_size
        grey = np.full((size, size, 3), 128, np.uint8)
        context = self._context.example()
        first, *_ = self._estimators
        formats = [Request(encode(grey, name), first, context) for name in WARM_UP_FORMATS]
        targets = [Request(grey, target, context, candidates=()) for target in self._estimators]
        requests = [*formats, *targets]
        for request in WARM_UP_ROUNDS * requests:
            (answer,) = self.recommend_batch([request])
            if isinstance(answer, AugrankError):
                raise answer
        self.check_smoke_request()

    def check_smoke_request(self) -> float | None:
        """Answer the bundle's smoke request, and compare with the answer at its export.

        Returns:
            The largest difference of a probability; None if the bundle has no such request.

        Raises:
            BundleError: the answer is another one.
        """
        same_engine = (self.precision, self.backbone.provider) == (self.bundle.spec.precision, CPU)
        return smoke_difference(
            self.bundle,
            lambda request: self.recommend_batch([request])[0],
            same_engine=same_engine,
        )

    # --- the stages, as augrank.tasks.base.Task names them ------------------------------------

    def parse(self, body: RequestBody) -> Request:
        """Read a request's options."""
        return parse_request(body)

    def plan(self, request: Request) -> RequestPlan:
        """Check everything in a request except its image."""
        return self._planner.plan(request)

    def answer(self, plans: Sequence[RequestPlan]) -> list[Answer | AugrankError]:
        """Prepare requests on threads; embed and answer as soon as a backbone call pays off.

        Requests about the same candidates of the same image, under other targets or contexts,
        are prepared and embedded once.
        """
        groups = _same_candidates(plans)
        first = [plans[group[0]] for group in groups]
        ends = np.cumsum([len(plan.augmentations) for plan in first], dtype=int).tolist()
        rows = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        memory = self._memory.rows(ends[-1] if ends else 0)

        def prepare(plan: RequestPlan, rows: slice) -> _Prepared | AugrankError:
            return isolated(self._prepare, memory, plan, rows)

        run_ahead = self._preparers.map if len(first) > 1 else map
        answers: dict[int, Answer | AugrankError] = {}
        waiting: list[_Prepared | AugrankError] = []
        begun = 0
        for number, item in enumerate(run_ahead(prepare, first, rows), start=1):
            waiting.append(item)
            if number == len(first) or _count(waiting) >= self.backbone.rows_per_call:
                answers |= self._answer_together(memory, waiting, plans, groups[begun:number])
                waiting, begun = [], number
        return [answers[place] for place in range(len(plans))]

    def _prepare(self, memory: Float32Array, plan: RequestPlan, rows: slice) -> _Prepared:
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
        good = [item for item in prepared if isinstance(item, _Prepared)]
        embedded = isolated(self._embed, memory, good) if good else None
        start = 0
        for item, places in zip(prepared, groups, strict=True):
            if isinstance(item, AugrankError):
                yield from ((place, item) for place in places)
                continue
            end = start + len(item.plan.augmentations)
            for place in places:
                if isinstance(embedded, _Embedded):
                    part = _Embedded(embedded.embedding[start:end], embedded.embed_ms)
                    mine = replace(item, plan=plans[place])
                    yield place, isolated(self._score_and_rank, mine, part)
                elif embedded is not None:  # internal error: none of these images can be answered
                    yield place, embedded
            start = end

    def _embed(self, memory: Float32Array, good: Sequence[_Prepared]) -> _Embedded:
        """Embed the candidates of these requests in one backbone call."""
        started = time.perf_counter()
        first, last = good[0].rows.start, good[-1].rows.stop
        batch = memory[first:last]
        if len(batch) > _count(good):  # a rejected request between them left its rows empty
            batch = np.concatenate([memory[item.rows] for item in good])
        return _Embedded(self.backbone.embed(batch), _ms(time.perf_counter() - started))

    def _score_and_rank(self, item: _Prepared, embedded: _Embedded) -> Answer:
        """Score and rank one request's candidates and alternates."""
        embedding, plan = embedded.embedding, item.plan
        scoring = time.perf_counter()
        rows = HeadRows(plan.applied, embedding.logits, embedding.features, plan.context)
        catalogue, alternates = self._alternates, RankedAlternates()
        known = catalogue.known(plan.estimator, plan.sha256) if catalogue else None
        draws = plan.estimator.candidates(rows, known or ImageEffects.unknown(1))
        others = catalogue.predict(plan) if catalogue and plan.request.alternates else None
        ranking = time.perf_counter()
        candidates = rank_candidates(plan, draws, item.thumbnails)
        if catalogue and others is not None:
            alternates = rank_alternates(plan, catalogue, *others, draws[:, 0])
        done = time.perf_counter()
        return Answer(
            model=self.bundle.spec.name,
            bundle_version=self.bundle.version,
            image=ImageInfo(
                sha256=plan.sha256,
                width=item.image.width,
                height=item.image.height,
                format=item.image.format,
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
                decode=item.decode_ms,
                augment=item.augment_ms,
                embed=embedded.embed_ms,
                score=_ms(ranking - scoring),
                rank=_ms(done - ranking),
                total=_ms(done - plan.started),
            ),
        )


def _same_candidates(plans: Sequence[RequestPlan]) -> list[list[int]]:
    """Group the places of plans whose rows of the batch are the same, in order of appearance."""
    groups: dict[tuple[str, tuple[str, ...], bool], list[int]] = {}
    for place, plan in enumerate(plans):
        names = tuple(augmentation.name for augmentation in plan.augmentations)
        groups.setdefault((plan.sha256, names, plan.request.thumbnails), []).append(place)
    return list(groups.values())


def _count(prepared: Sequence[_Prepared | AugrankError]) -> int:
    """Count the candidates of the requests that can be answered."""
    return sum(len(item.plan.augmentations) for item in prepared if isinstance(item, _Prepared))


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
