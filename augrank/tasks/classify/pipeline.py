"""Answer classification requests: decode, embed, score, decide.

    plan ─ images ─┐                       ┌─ heads ─ rules ─ answer
    plan ─ images ─┼─ decode ─ backbone ───┼─ heads ─ rules ─ answer
    plan ─ images ─┘    (embedding.py)     └─ heads ─ rules ─ answer

The same image twice in a batch is embedded once; one that was asked about lately, not at all.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.smoke import OTHER_TOLERANCE, TOLERANCE, SmokeRequest, differs
from augrank.bundle.spec import SMOKE_FILE, Bundle, BundleSpec
from augrank.errors import AugrankError, BundleError
from augrank.images.decode import RgbImage, encode
from augrank.models.embedding_cache import EmbeddedImage
from augrank.models.tags import tags_of
from augrank.tasks.base import EngineOptions, RequestBody
from augrank.tasks.classify.embedding import EmbeddedBatch, ImageEmbedder
from augrank.tasks.classify.heads import LoadedHeads
from augrank.tasks.classify.labelling import tell
from augrank.tasks.classify.plan import RequestPlan, plan_request
from augrank.tasks.classify.request import (
    DEFAULT_COVERAGE,
    DEFAULT_TOP,
    Image,
    Request,
    parse_request,
)
from augrank.tasks.classify.response import Answer, ImageAnswer, LabelAnswer, Timings
from augrank.tasks.engine import Engine, read_file
from augrank.tasks.isolation import isolated, pass_good

WARM_UP_FORMATS = ("JPEG", "PNG", "WEBP")
WARM_UP_ROUNDS = 2


def load_task(bundle: Bundle[BundleSpec], options: EngineOptions) -> "Classifier":
    """Load the task ``classify``, for ``augrank.tasks.base.load_task``."""
    return Classifier.of(bundle, options)


class Classifier(Engine[ClassifySpec]):
    """Tells the labels and ranks of images.

    Thread-safe once loaded. One classifier holds one loaded graph; its options are those of
    ``Engine``.
    """

    SPEC = ClassifySpec

    def _load_heads(self) -> None:
        spec = self.bundle.spec
        self.heads = LoadedHeads.load(spec.graphs[self.precision], self.bundle.directory)
        if self.backbone.feature_width != spec.feature_width:
            raise BundleError(
                "the graph does not fit bundle.json",
                expected=f"{spec.feature_width} features",
                got=str(self.backbone.feature_width),
                remedy="Export the run again.",
            )
        self.embedder = ImageEmbedder(
            spec,
            self.backbone,
            limits=self.limits,
            threads=self.threads,
            cache=self.embedding_cache,
        )

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
        data = read_file(image, self.limits) if isinstance(image, str | Path) else image
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
            got = f"features {apart:.0%} apart from them"
            raise differs(self.bundle.spec, expected="its image's features", got=got)
        difference = known.difference(self.heads.probabilities(features))
        if not difference <= (TOLERANCE if same_device else OTHER_TOLERANCE):
            got = f"some {difference:.3f} apart"
            raise differs(self.bundle.spec, expected="the probabilities of its export", got=got)
        return difference

    # --- the stages, as augrank.tasks.base.Task names them ------------------------------------

    def parse(self, body: RequestBody) -> Request:
        """Read a request's options."""
        return parse_request(body)

    def plan(self, request: Request) -> RequestPlan:
        """Check everything in a request except its images; see ``plan.py``."""
        heads = self.heads
        return plan_request(request, heads.classes, heads.rules, self.bundle.spec.tags)

    def answer(self, plans: Sequence[RequestPlan]) -> list[Answer | AugrankError]:
        """Answer several plans together, in order; a failed one gets an error in its place."""
        images: dict[str, Image] = {}
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
        told = iter(tell(np.concatenate(good), self.heads, request) if good else [])
        images = list[ImageAnswer]()
        for digest, outcome in zip(plan.digests, outcomes, strict=True):
            if isinstance(outcome, AugrankError):
                images.append(ImageAnswer(sha256=digest, error=outcome.to_dict()["error"]))
                continue
            info, answers = outcome.info, next(told)
            images.append(
                ImageAnswer(
                    sha256=digest,
                    width=info.width,
                    height=info.height,
                    format=info.format,
                    labels=answers.labels,
                    ranks=answers.ranks,
                    tags=tags_of(spec.tags, _values(answers.labels), request.configured),
                    decision=answers.decision,
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


def _values(labels: Mapping[str, LabelAnswer]) -> dict[str, tuple[str, float]]:
    return {label: (answer.value, answer.probability) for label, answer in labels.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
