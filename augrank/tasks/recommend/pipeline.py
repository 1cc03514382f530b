"""The task: a loaded bundle that answers requests.

    request ─ plan ─┐          ┌─ answer
    request ─ plan ─┼─ stages ─┴─ answer
    request ─ refused ─────────── error

``plan.py`` checks everything in a request except its image, ``stages.py`` does the rest for several
requests together. One bad request gets an error as its answer and does not affect the others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import AugrankError
from augrank.images.augmentations import ORIGINAL
from augrank.images.decode import RgbImage, encode
from augrank.models.context import ContextEncoder
from augrank.tasks.base import EngineOptions, RequestBody
from augrank.tasks.engine import Engine, read_file
from augrank.tasks.isolation import isolated, pass_good
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.plan import Planner, RequestPlan
from augrank.tasks.recommend.request import DEFAULT_ALTERNATES, Request, parse_request
from augrank.tasks.recommend.response import Answer
from augrank.tasks.recommend.smoke import check_smoke_request
from augrank.tasks.recommend.stages import Stages
from augrank.tasks.recommend.validate import check_widths
from augrank.trust.estimator import Estimator

WARM_UP_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
WARM_UP_ROUNDS = 2


def load_task(bundle: Bundle[BundleSpec], options: EngineOptions) -> "Recommender":
    """Load the task ``recommend``, for ``augrank.tasks.base.load_task``."""
    return Recommender.of(bundle, options)


class Recommender(Engine[RecommendSpec]):
    """Predict which version of an image, or which other image, would do better.

    Thread-safe once loaded. One recommender holds one loaded graph; its options are those of
    ``Engine``.
    """

    SPEC = RecommendSpec

    def _load_heads(self) -> None:
        bundle, spec = self.bundle, self.bundle.spec
        self._context = ContextEncoder(spec.context)
        served = spec.graphs[self.precision]
        self._estimators = {
            head.target.name: Estimator.load(head, bundle.directory) for head in served.heads
        }
        original = spec.augmentations.names.index(ORIGINAL)
        self.alternates = alternates = (
            Alternates.load(spec.alternates, served.alternates, bundle.directory, original)
            if spec.alternates and served.alternates
            else None
        )
        self._planner = Planner(spec, self._estimators, self._context, alternates)
        self.stages = Stages(
            bundle,
            self.graph,
            alternates,
            limits=self.limits,
            preparing=self.threads,
            cache=self.embedding_cache,
        )
        check_widths(spec, self.backbone, self._context, alternates, self._estimators.values())

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
        data = read_file(image, self.limits) if isinstance(image, str | Path) else image
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
        return check_smoke_request(
            self.bundle,
            self.graph.way,
            answered=lambda request: self.recommend_batch([request])[0],
            embedded=lambda image: self.stages.embed(image).features[0],
        )

    # --- the stages, as augrank.tasks.base.Task names them ------------------------------------

    def parse(self, body: RequestBody) -> Request:
        """Read a request's options."""
        return parse_request(body)

    def plan(self, request: Request) -> RequestPlan:
        """Check everything in a request except its image."""
        return self._planner.plan(request)

    def answer(self, plans: Sequence[RequestPlan]) -> list[Answer | AugrankError]:
        """Answer several plans together; see ``stages.py``."""
        return self.stages.answer(plans)
