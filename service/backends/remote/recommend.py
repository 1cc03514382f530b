"""A recommender on a server; see ``transport.py``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.images.augmentations import ORIGINAL, AugmentationSet
from augrank.images.decode import DecodedImage, DecodeLimits
from augrank.models.context import ContextColumn, ContextEncoder
from augrank.models.targets import Target
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.plan import Planner
from augrank.tasks.recommend.response import Answer
from augrank.trust.estimator import Estimator
from service.backends.catalogue import Catalogue
from service.backends.recommend import RecommendOptions, canonical_options
from service.backends.remote.transport import (
    Contact,
    InFlight,
    Transport,
    parsed,
    smoke_image,
)


class RemoteRecommend:
    """A recommender on a server: a ``RecommendBackend``.

    Args:
        bundle: the one that is deployed there. Its graphs are not loaded; its heads are, which
            check a request as the server does.
        transport: reaches the server.
        images: folder of the catalogue's images; None: they are not at hand.
    """

    def __init__(
        self, bundle: RecommendBundle, transport: Transport, images: Path | None = None
    ) -> None:
        self._bundle, self._transport = bundle, transport
        self._in_flight, self._contact = InFlight(), Contact()
        spec, directory = bundle.spec, bundle.directory
        graph = spec.graphs[spec.preferred]
        alternates = None
        if spec.alternates and graph.alternates:
            original = spec.augmentations.names.index(ORIGINAL)
            alternates = Alternates.load(spec.alternates, graph.alternates, directory, original)
        estimators = {head.target.name: Estimator.load(head, directory) for head in graph.heads}
        self._planner = Planner(spec, estimators, ContextEncoder(spec.context), alternates)
        self._catalogue = Catalogue.of(alternates, images)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._bundle.spec.name

    @property
    def model(self) -> str:
        """The bundle's digest."""
        return self._bundle.digest

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets of the bundle's heads."""
        return tuple(head.target for head in self._bundle.spec.heads)

    @property
    def context(self) -> tuple[ContextColumn, ...]:
        """The bundle's context columns."""
        return self._bundle.spec.context

    @property
    def augmentations(self) -> AugmentationSet:
        """The bundle's augmentations."""
        return self._bundle.spec.augmentations

    @property
    def catalogue(self) -> Catalogue:
        """The bundle's catalogue."""
        return self._catalogue

    def canonical(self, options: RecommendOptions) -> RecommendOptions:
        """Check options without an image; see ``RecommendBackend``."""
        return canonical_options(self._planner.plan, options)

    def decode(self, data: bytes, limits: DecodeLimits) -> None:
        """Leave it to the server; see ``RecommendBackend``."""

    def recommend(self, image: bytes | DecodedImage, options: RecommendOptions) -> Answer:
        """Rank the versions of an image, and other images; see ``RecommendBackend``.

        Raises:
            Refused: the server says what is wrong with the image or an option.
            BackendFailed: the server could not answer.
            BackendUnavailable: the server does not answer, or not with this bundle.
        """
        if isinstance(image, DecodedImage):
            raise TypeError("this backend takes files alone")
        with self._in_flight:
            return self._answer(image, _fields(options))

    @property
    def available(self) -> bool:
        """Whether the server has answered the last request, with this bundle."""
        return self._contact.available

    def verify(self) -> None:
        """Check that the server answers, and with this bundle.

        Raises:
            BackendUnavailable, BackendFailed: it does not.
        """
        fields = ContextEncoder(self._bundle.spec.context).example()
        target = self._bundle.spec.heads[0].target.name
        options = RecommendOptions(target, fields, candidates=(), alternates=0)
        self._answer(smoke_image(self._bundle), _fields(options))

    def drain(self) -> None:
        """Wait until no request is under way."""
        self._in_flight.drain()

    def close(self) -> None:
        """Close its connections, after the requests that are under way."""
        self.drain()
        self._transport.close()

    def _answer(self, image: bytes, fields: Mapping[str, Any]) -> Answer:
        with self._contact:
            content = self._transport.ask(image, fields)
            return parsed(Answer, content, self._bundle, self._transport)


def _fields(options: RecommendOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {"alternates": options.alternates, "min_lift": options.min_lift}
    if options.target is not None:
        fields["target"] = options.target
    if options.context:
        fields["context"] = dict(options.context)
    if options.candidates is not None:
        fields["candidates"] = list(options.candidates)
    return fields
