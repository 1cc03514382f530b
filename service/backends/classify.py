"""What answers: a bundle in this process."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.errors import AugrankError, RequestError
from augrank.images.decode import DecodedImage, DecodeLimits
from augrank.images.look import LOOK_PX
from augrank.models.tags import TagRules
from augrank.tasks.base import EngineOptions
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP, Request
from augrank.tasks.classify.response import Answer
from service.backends.bundles import AT_ONCE, EMBEDDED_AT_ONCE

NO_IMAGE = RequestError("no image")


@dataclass(frozen=True)
class ClassifyOptions:
    """What the answer of a model depends on, beside the picture."""

    review_kind: str | None = None
    coverage: float = DEFAULT_COVERAGE
    top: int = DEFAULT_TOP


class ClassifyBackend(Protocol):
    """Tells the labels of images. Thread-safe."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def model(self) -> str:
        """What identifies the model: its bundle's digest."""

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The classes of each label."""

    @property
    def tags(self) -> TagRules:
        """The rules of tags, by label; none of a server, whose bundle is elsewhere."""

    def check(self, options: ClassifyOptions) -> None:
        """Check options without images.

        Raises:
            RequestError: one does not fit.
        """

    def decode(
        self, files: Mapping[str, bytes], limits: DecodeLimits
    ) -> list[DecodedImage | AugrankError] | None:
        """Decode files as ``classify`` also takes them, with LOOK_PX pixels at least.

        Args:
            files: by sha256.
            limits: larger images are rejected.

        Returns:
            Images, or why one cannot be read; None: it takes files alone.
        """

    def classify(self, images: Sequence[bytes | DecodedImage], options: ClassifyOptions) -> Answer:
        """Classify images: files, or decoded ones.

        Raises:
            AugrankError: the backend failed, or an option does not fit.
        """


class BundleBackend:
    """A bundle, loaded in this process.

    Args:
        directory: of the bundle.
        like: what answers meanwhile: its engine is taken without timing others, if the bundle has
            passed the gate on it, and its limits.
        limits: larger images are rejected.
    """

    def __init__(
        self,
        directory: Path,
        like: "BundleBackend | None" = None,
        limits: DecodeLimits = DecodeLimits(),
    ) -> None:
        bundle = load_bundle(directory, ClassifySpec)
        options = EngineOptions()
        if like is not None:
            limits = like._classifier.limits
            way = like._classifier.graph.way
            if way.precision in bundle.spec.passed.get(way.device, ()):
                options = EngineOptions(precision=way.precision, device=way.device)
        self._classifier: Classifier = Classifier.of(bundle, options, limits)
        self._classifier.backbone.share(EMBEDDED_AT_ONCE)
        self._classifier.warm_up()
        self._turn = threading.BoundedSemaphore(AT_ONCE)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._classifier.bundle.spec.name

    @property
    def model(self) -> str:
        """The bundle's digest."""
        return self._classifier.bundle.digest

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The classes of each label."""
        return self._classifier.heads.classes

    @property
    def tags(self) -> TagRules:
        """The bundle's rules of tags."""
        return self._classifier.bundle.spec.tags

    def check(self, options: ClassifyOptions) -> None:
        """Check options without images; see ``ClassifyBackend``."""
        self._classifier.plan(
            Request((NO_IMAGE,), options.review_kind, options.coverage, options.top)
        )

    def decode(
        self, files: Mapping[str, bytes], limits: DecodeLimits
    ) -> list[DecodedImage | AugrankError] | None:
        """Decode files, unless to less than is looked at; see ``ClassifyBackend``."""
        if self._classifier.bundle.spec.image_size < LOOK_PX:
            return None
        return self._classifier.embedder.decode(files, limits)

    def classify(self, images: Sequence[bytes | DecodedImage], options: ClassifyOptions) -> Answer:
        """Classify images; see ``ClassifyBackend``."""
        request = Request(tuple(images), options.review_kind, options.coverage, options.top)
        with self._turn:
            (answer,) = self._classifier.classify_batch([request])
        if isinstance(answer, AugrankError):
            raise answer
        return answer
