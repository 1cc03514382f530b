"""Answer classification requests: decode, embed, score, decide.

    plan ─ images ─┐                       ┌─ heads ─ rules ─ answer
    plan ─ images ─┼─ decode ─ backbone ───┼─ heads ─ rules ─ answer
    plan ─ images ─┘    (embedding.py)     └─ heads ─ rules ─ answer

The same image twice in a batch is embedded once; one that was asked about lately, not at all.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.bundle.classify_spec import ClassifyBundle, ClassifySpec
from augrank.bundle.graphs import open_graph
from augrank.bundle.load import load_bundle
from augrank.bundle.smoke import OTHER_TOLERANCE, TOLERANCE, SmokeRequest
from augrank.bundle.spec import SMOKE_FILE, Bundle, BundleSpec
from augrank.contracts.run import Precision
from augrank.errors import AugrankError, BadRequest, BundleError
from augrank.images.decode import DecodeLimits, RgbImage, encode, sha256_of_image
from augrank.models.embedding_cache import DEFAULT_MB, EmbeddedImage, EmbeddingCache
from augrank.models.engines import Device
from augrank.models.label_head import LabelHead
from augrank.models.rules import FittedRules
from augrank.models.tags import Tag, check_configured, tags_of
from augrank.resources import usable_cores
from augrank.tasks.base import EngineOptions, RequestBody
from augrank.tasks.classify.embedding import EmbeddedBatch, ImageEmbedder
from augrank.tasks.classify.request import (
    DEFAULT_COVERAGE,
    DEFAULT_TOP,
    Request,
    Sent,
    parse_request,
    validated,
)
from augrank.tasks.classify.response import (
    Answer,
    ClassScore,
    CreditDecision,
    ImageAnswer,
    LabelAnswer,
    Timings,
)
from augrank.tasks.isolation import isolated, pass_good

MAX_IMAGES = 100
WARM_UP_FORMATS = ("JPEG", "PNG", "WEBP")
WARM_UP_ROUNDS = 2
DIGITS = 6  # of probabilities
WORDS = {
    "accept": "It earns credit for a {kind}: {shown} with probability {probability:.1%}.",
    "reject": "It earns no credit for a {kind}: {shown} has probability {probability:.1%}.",
    "ask": "Ask a person: for a {kind}, {shown} has probability {probability:.1%}.",
}


def load_task(bundle: Bundle[BundleSpec], options: EngineOptions) -> "Classifier":
    """Load the task ``classify``, for ``augrank.tasks.base.load_task``."""
    assert isinstance(bundle.spec, ClassifySpec)
    return Classifier(
        Bundle(bundle.directory, bundle.spec, bundle.digest),
        threads=options.threads,
        precision=options.precision,
        device=options.device,
        spin=options.spin,
        embedding_cache_mb=options.embedding_cache_mb,
    )


@dataclass(frozen=True)
class RequestPlan:
    """A request whose options are checked."""

    request: Request  # its review kind is spelled as in the rules
    digests: tuple[str | None, ...]  # sha256 of each image; None if there is none
    started: float  # time.perf_counter

    @property
    def cache_key(self) -> Hashable:
        """All parts of the request that determine its answer."""
        request = self.request
        configured = tuple(sorted(request.configured.items()))
        options = (request.review_kind, request.coverage, request.top, configured)
        return (self.digests, *options, request.single)


class Classifier:
    """Tells the labels of images.

    Thread-safe once loaded. One classifier holds one loaded graph.

    Args:
        bundle: a checked bundle.
        threads: of the backbone; by default every core that may be used.
        precision: of the graph; by default the one that is the quickest on the device, of those
            that passed the parity gate.
        device: ``auto`` takes the quickest that this machine has, by timing.
        spin: let the backbone's idle threads spin; only useful if no other process needs the cores.
        limits: larger images are rejected.
        embedding_cache_mb: memory for embeddings of the images that were asked about last; 0 keeps
            none.
    """

    def __init__(  # noqa: PLR0913 - the options of an engine
        self,
        bundle: ClassifyBundle,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        embedding_cache_mb: float = DEFAULT_MB,
    ) -> None:
        spec, threads = bundle.spec, threads or usable_cores()
        self.bundle, self.limits = bundle, limits
        self.graph = open_graph(bundle, precision, threads=threads, device=device, spin=spin)
        self.precision, self.backbone = self.graph.precision, self.graph.backbone
        served = spec.graphs[self.precision]
        self.heads = tuple(LabelHead.load(head, bundle.directory) for head in served.heads)
        self.rules: FittedRules | None = served.rules
        if self.backbone.feature_width != spec.feature_width:
            raise BundleError(
                "the graph does not fit bundle.json",
                expected=f"{spec.feature_width} features",
                got=str(self.backbone.feature_width),
                remedy="Export the run again.",
            )
        self.embedding_cache = EmbeddingCache(round(embedding_cache_mb * 1024**2))
        self.embedder = ImageEmbedder(
            spec, self.backbone, limits=limits, threads=threads, cache=self.embedding_cache
        )

    @classmethod
    def load(  # noqa: PLR0913 - the options of an engine
        cls,
        bundle: Path | str,
        *,
        threads: int | None = None,
        precision: Precision | None = None,
        device: Device = "auto",
        spin: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        embedding_cache_mb: float = DEFAULT_MB,
    ) -> "Classifier":
        """Load a bundle directory, which ``python -m export build`` wrote; see the class.

        Raises:
            BundleError: a part is incompatible; gives the remedy.
        """
        return cls(
            load_bundle(bundle, ClassifySpec),
            threads=threads,
            precision=precision,
            device=device,
            spin=spin,
            limits=limits,
            embedding_cache_mb=embedding_cache_mb,
        )

    @property
    def engine(self) -> str:
        """The graph's precision, the engine and the type of its floating point arithmetic."""
        return self.graph.engine

    def classify(
        self,
        image: bytes | Path | str | RgbImage,
        *,
        review_kind: str | None = None,
        coverage: float = DEFAULT_COVERAGE,
        top: int = DEFAULT_TOP,
        configured: Mapping[str, str] | None = None,
    ) -> ImageAnswer:
        """Tell the labels of one image.

        Args:
            image: a file's path or bytes, or uint8 (H, W, 3) RGB.
            review_kind: decides what earns credit, by the bundle's rules.
            coverage: share of images whose prediction set has the right class.
            top: classes to list for each label.
            configured: tags that win over what is classified, by label.

        Raises:
            RequestError: the image or the options are invalid.
        """
        data = read_file(image) if isinstance(image, str | Path) else image
        request = Request((data,), review_kind, coverage, top, configured or {}, single=True)
        (answer,) = self.classify_batch([request])
        if isinstance(answer, AugrankError):
            raise answer
        return answer.images[0]

    def classify_batch(self, requests: Sequence[Request]) -> list[Answer | AugrankError]:
        """Answer several requests together; a failed one gets an error in its place."""
        return pass_good([isolated(self.plan, request) for request in requests], self.answer)

    def warm_up(self) -> None:
        """Answer for a grey image in every format, twice, and for the bundle's smoke request.

        Raises:
            BundleError: the smoke request is answered otherwise than at export.
        """
        size = self.bundle.spec.image_size
        grey = np.full((size, size, 3), 128, np.uint8)
        for name in WARM_UP_ROUNDS * WARM_UP_FORMATS:
            self.embedding_cache.clear()
            self.classify(encode(grey, name))
        self.embedding_cache.clear()
        self.check_smoke_request()

    def check_smoke_request(self) -> float | None:
        """Answer the bundle's smoke request, and compare with the answer at its export.

        Returns:
            The largest difference of a probability; None if the bundle has no such request.

        Raises:
            BundleError: the answer is another one.
        """
        if SMOKE_FILE not in self.bundle.spec.files:
            return None
        smoke, way = SmokeRequest.load(self.bundle.directory), self.graph.way
        known = smoke.answers[way.precision]
        embedded = self.embedder({"smoke": smoke.image}).images["smoke"]
        if isinstance(embedded, AugrankError):
            raise embedded
        features = embedded.embedding.features
        same_device = known.device == way.device
        if not known.resembles(features[0], way.device):
            apart = known.features_difference(features[0])
            raise _differs("its image's features", f"features {apart:.0%} apart from them")
        got = {
            f"{head.spec.label}: {name}": float(probability)
            for head in self.heads
            for name, probability in zip(
                head.spec.classes, head.probabilities(features)[0], strict=True
            )
        }
        difference = known.difference(got)
        if not difference <= (TOLERANCE if same_device else OTHER_TOLERANCE):
            raise _differs("the probabilities of its export", f"some {difference:.3f} apart")
        return difference

    # --- the stages, as augrank.tasks.base.Task names them ------------------------------------

    def parse(self, body: RequestBody) -> Request:
        """Read a request's options."""
        return parse_request(body)

    def plan(self, request: Request) -> RequestPlan:
        """Check everything in a request except its images.

        Raises:
            RequestError: there are too few or too many images, or an option is invalid.
        """
        started = time.perf_counter()
        count = len(request.images)
        if not 1 <= count <= MAX_IMAGES:
            raise BadRequest(
                "the number of images does not fit",
                expected=f"1 to {MAX_IMAGES}",
                got=str(count),
                remedy="Send several requests.",
            )
        validated({"coverage": request.coverage, "top": request.top})
        if request.review_kind is not None:
            if self.rules is None:
                raise BadRequest(
                    "this bundle has no rules, so a review kind decides nothing",
                    expected="no review_kind",
                    got=repr(request.review_kind)[:80],
                    remedy="Export it with --rules rules.yaml.",
                )
            request = replace(request, review_kind=self.rules.find(request.review_kind))
        if request.configured:
            classes = {head.spec.label: head.spec.classes for head in self.heads}
            checked = check_configured(self.bundle.spec.tags, classes, request.configured)
            request = replace(request, configured=checked)
        images = tuple(isolated(_checked, image) for image in request.images)
        for image in images:
            if request.single and isinstance(image, AugrankError):
                raise image
        digests = tuple(
            None if isinstance(image, AugrankError) else sha256_of_image(image) for image in images
        )
        return RequestPlan(replace(request, images=images), digests, started)

    def answer(self, plans: Sequence[RequestPlan]) -> list[Answer | AugrankError]:
        """Answer several plans together, in order; a failed one gets an error in its place."""
        images: dict[str, bytes | RgbImage] = {}
        for plan in plans:
            for digest, image in zip(plan.digests, plan.request.images, strict=True):
                if digest is not None and not isinstance(image, AugrankError):
                    images.setdefault(digest, image)
        embedded = self.embedder(images)
        return [isolated(self._answer, plan, embedded) for plan in plans]

    def _answer(self, plan: RequestPlan, embedded: EmbeddedBatch) -> Answer:
        """Score the images of one plan.

        Raises:
            RequestError: the only image cannot be decoded.
        """
        scoring = time.perf_counter()
        request, spec = plan.request, self.bundle.spec
        outcomes: list[EmbeddedImage | AugrankError] = []
        for digest, image in zip(plan.digests, request.images, strict=True):
            if isinstance(image, AugrankError):
                outcomes.append(image)
            else:
                outcomes.append(embedded.images[str(digest)])
        if request.single and isinstance(outcomes[0], AugrankError):
            raise outcomes[0]
        good = [each.embedding.features for each in outcomes if isinstance(each, EmbeddedImage)]
        labels = self._labels(np.concatenate(good), request) if good else []
        told, images = iter(labels), list[ImageAnswer]()
        for digest, outcome in zip(plan.digests, outcomes, strict=True):
            if isinstance(outcome, AugrankError):
                images.append(ImageAnswer(sha256=digest, error=outcome.to_dict()["error"]))
                continue
            info, (answers, decision) = outcome.info, next(told)
            images.append(
                ImageAnswer(
                    sha256=digest,
                    width=info.width,
                    height=info.height,
                    format=info.format,
                    labels=answers,
                    tags=self._tags(answers, request),
                    decision=decision,
                )
            )
        done = time.perf_counter()
        return Answer(
            model=spec.name,
            bundle_version=self.bundle.version,
            engine=self.engine,
            coverage=request.coverage,
            images=tuple(images),
            timings_ms=Timings(
                decode=_ms(embedded.decode_s),
                embed=_ms(embedded.embed_s),
                score=_ms(done - scoring),
                total=_ms(done - plan.started),
            ),
        )

    def _tags(self, labels: Mapping[str, LabelAnswer], request: Request) -> dict[str, Tag]:
        told = {label: (answer.value, answer.probability) for label, answer in labels.items()}
        return tags_of(self.bundle.spec.tags, told, request.configured)

    def _labels(
        self, features: Float32Array, request: Request
    ) -> list[tuple[dict[str, LabelAnswer], CreditDecision | None]]:
        """Tell the labels of images, and decide.

        Args:
            features: (N, F).
            request: whose options they are for.
        """
        rows: list[dict[str, LabelAnswer]] = [{} for _ in features]
        decisions: list[CreditDecision | None] = [None] * len(features)
        for head in self.heads:
            label, classes = head.spec.label, head.spec.classes
            probabilities = head.probabilities(features)
            sets = head.sets(probabilities, request.coverage)
            for row, probability, inside in zip(rows, probabilities, sets, strict=True):
                row[label] = _label_answer(classes, probability, inside, request.top)
            if request.review_kind and self.rules and label == self.rules.label:
                decisions = [
                    _decision(self.rules, request.review_kind, classes, probability)
                    for probability in probabilities
                ]
        return list(zip(rows, decisions, strict=True))


def read_file(file: Path | str) -> bytes:
    """Read an image file.

    Raises:
        BadRequest: it cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise BadRequest(
            "the image cannot be read", expected="an image file", got=f"{file}: {error.strerror}"
        ) from error


def _checked(image: Sent) -> bytes | RgbImage:
    """Return an image whose digest can be computed.

    Raises:
        AugrankError: it could not be read from the request, or is no array of an image.
    """
    if isinstance(image, AugrankError):
        raise image
    sha256_of_image(image)
    return image


def _label_answer(
    classes: Sequence[str], probability: Float64Array, inside: NDArray[np.bool_], top: int
) -> LabelAnswer:
    """Return the answer of one label, of one image: its classes, (K,)."""
    order = np.argsort(-probability, kind="stable").tolist()
    scores = tuple(
        ClassScore(name=classes[place], probability=round(float(probability[place]), DIGITS))
        for place in order[:top]
    )
    return LabelAnswer(
        value=scores[0].name,
        probability=scores[0].probability,
        top=scores,
        set=tuple(classes[place] for place in order if inside[place]),
    )


def _decision(
    rules: FittedRules, kind: str, classes: Sequence[str], probability: Float64Array
) -> CreditDecision:
    decision, earns = rules.decide(kind, classes, probability)
    credit = rules.rules[kind].credit
    shown = " or ".join(credit)
    return CreditDecision(
        decision=decision,
        review_kind=kind,
        credit=credit,
        probability=round(earns, DIGITS),
        text=WORDS[decision].format(kind=kind, shown=shown, probability=earns),
    )


def _differs(expected: str, got: str) -> BundleError:
    return BundleError(
        "the bundle does not answer its smoke request as at export",
        expected=expected,
        got=got,
        remedy="Check the processor and the libraries, or export the run again here.",
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
