"""What recommends: a bundle in this process."""

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from augrank.errors import AugrankError
from augrank.images.augmentations import AugmentationSet
from augrank.images.decode import DecodedImage, DecodeLimits, decode, sha256_of_image
from augrank.images.look import LOOK_PX
from augrank.models.context import BLANK, ContextColumn
from augrank.models.targets import Target
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.plan import RequestPlan
from augrank.tasks.recommend.request import DEFAULT_ALTERNATES, Request
from augrank.tasks.recommend.response import Answer
from service.backends.bundles import AT_ONCE, EMBEDDED_AT_ONCE
from service.backends.catalogue import Catalogue

NO_IMAGE = b""  # options are checked without one


@dataclass(frozen=True)
class RecommendOptions:
    """What a recommendation depends on, beside the picture."""

    target: str | None = None  # optional with a single target
    context: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[str, ...] | None = None  # None: all
    alternates: int = DEFAULT_ALTERNATES
    min_lift: float = 0.0


class RecommendBackend(Protocol):
    """Ranks versions of an image, and other images. Thread-safe."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def model(self) -> str:
        """What identifies the model: its bundle's digest."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What it predicts, and whether high or low is good."""

    @property
    def context(self) -> tuple[ContextColumn, ...]:
        """The columns of the context, with the values that are known."""

    @property
    def augmentations(self) -> AugmentationSet:
        """The versions of an image that it offers, with their exact parameters."""

    @property
    def catalogue(self) -> Catalogue:
        """The images that it offers as alternates; may be empty."""

    def canonical(self, options: RecommendOptions) -> RecommendOptions:
        """Check options without an image; equal questions become equal options.

        Raises:
            RequestError: one does not fit.
        """

    def decode(self, data: bytes, limits: DecodeLimits) -> DecodedImage | None:
        """Decode a file as ``recommend`` also takes it, with LOOK_PX pixels at least.

        Args:
            data: the file.
            limits: larger images are rejected.

        Returns:
            The image; None: it takes files alone.

        Raises:
            RequestError: it is no image that can be read.
        """

    def recommend(self, image: bytes | DecodedImage, options: RecommendOptions) -> Answer:
        """Rank the versions of an image, a file or a decoded one, and other images.

        Raises:
            AugrankError: the image or an option does not fit, or the backend failed.
        """


class RecommendBundle:
    """A bundle, loaded in this process.

    Args:
        directory: of the bundle.
        images: folder of the catalogue's images; None: they are not at hand.
        limits: larger images are rejected.
    """

    def __init__(
        self,
        directory: Path,
        images: Path | None = None,
        limits: DecodeLimits = DecodeLimits(),
    ) -> None:
        self._recommender = Recommender.load(directory, limits=limits)
        self._recommender.backbone.share(EMBEDDED_AT_ONCE)
        self._recommender.warm_up()
        self._catalogue = Catalogue.of(self._recommender.alternates, images)
        self._turn = threading.BoundedSemaphore(AT_ONCE)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._recommender.bundle.spec.name

    @property
    def model(self) -> str:
        """The bundle's digest."""
        return self._recommender.bundle.digest

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of the bundle's heads."""
        return tuple(head.target for head in self._recommender.bundle.spec.heads)

    @property
    def context(self) -> tuple[ContextColumn, ...]:
        """The bundle's context columns."""
        return self._recommender.bundle.spec.context

    @property
    def augmentations(self) -> AugmentationSet:
        """The bundle's augmentations."""
        return self._recommender.bundle.spec.augmentations

    @property
    def catalogue(self) -> Catalogue:
        """The bundle's catalogue."""
        return self._catalogue

    def canonical(self, options: RecommendOptions) -> RecommendOptions:
        """Check options without an image; see ``RecommendBackend``."""
        return canonical_options(self._recommender.plan, options)

    def decode(self, data: bytes, limits: DecodeLimits) -> DecodedImage | None:
        """Decode a file, unless to less than is looked at; see ``RecommendBackend``."""
        size = self._recommender.bundle.spec.image_size
        if size < LOOK_PX:
            return None
        return replace(decode(data, size, limits), sha256=sha256_of_image(data))

    def recommend(self, image: bytes | DecodedImage, options: RecommendOptions) -> Answer:
        """Rank the versions of an image, and other images; see ``RecommendBackend``.

        A question about an image whose embedding is cached waits for no other.
        """
        request = _request(image, options)
        with nullcontext() if self._is_embedded(request) else self._turn:
            (answer,) = self._recommender.recommend_batch([request])
        if isinstance(answer, AugrankError):
            raise answer
        return answer

    def _is_embedded(self, request: Request) -> bool:
        names = request.candidates or self.augmentations.names
        sha256, cache = sha256_of_image(request.image), self._recommender.embedding_cache
        return cache.get(sha256, names, thumbnails=False) is not None


def canonical_options(
    plan: Callable[[Request], RequestPlan], options: RecommendOptions
) -> RecommendOptions:
    """Check options as a bundle does; equal questions become equal options.

    Args:
        plan: checks a request, as the bundle's planner does.
        options: as they were given.

    Raises:
        RequestError: one does not fit.
    """
    planned = plan(_request(NO_IMAGE, options))
    context = planned.request.context
    given = {name: value for name, value in context.items() if value not in (None, BLANK)}
    return replace(options, target=planned.target.name, context=given, candidates=planned.names)


def _request(image: bytes | DecodedImage, options: RecommendOptions) -> Request:
    return Request(
        image,
        options.target,
        options.context,
        options.candidates,
        options.alternates,
        min_lift=options.min_lift,
    )
