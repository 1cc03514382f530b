"""A classifier on a server; see ``transport.py``."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from augrank.bundle.classify_spec import ClassifyBundle
from augrank.errors import AugrankError
from augrank.images.decode import DecodedImage, DecodeLimits
from augrank.models.tags import TagRules
from augrank.tasks.classify.plan import plan_request
from augrank.tasks.classify.request import Request
from augrank.tasks.classify.response import Answer, ImageAnswer, Timings
from service.backends.classify import NO_IMAGE, ClassifyOptions
from service.backends.remote.transport import (
    Contact,
    Fields,
    InFlight,
    Refused,
    Transport,
    parsed,
    smoke_image,
)
from service.errors import BackendFailed


class RemoteClassify:
    """A classifier on a server: a ``ClassifyBackend``.

    Args:
        bundle: the one that is deployed there; its graphs are not loaded.
        transport: reaches the server.
    """

    def __init__(self, bundle: ClassifyBundle, transport: Transport) -> None:
        self._bundle, self._transport = bundle, transport
        self._in_flight, self._contact = InFlight(), Contact()
        # Its threads start when a request brings several images.
        self._pool = ThreadPoolExecutor(transport.connections, "classify")

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._bundle.spec.name

    @property
    def model(self) -> str:
        """The bundle's digest."""
        return self._bundle.digest

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """The classes of each label."""
        return {head.label: head.classes for head in self._bundle.spec.heads}

    @property
    def tags(self) -> TagRules:
        """The bundle's rules of tags."""
        return self._bundle.spec.tags

    def check(self, options: ClassifyOptions) -> None:
        """Check options without images; see ``ClassifyBackend``."""
        request = Request((NO_IMAGE,), options.review_kind, options.coverage, options.top)
        spec = self._bundle.spec
        plan_request(request, self.labels, spec.rules, spec.tags)

    def decode(self, files: Mapping[str, bytes], limits: DecodeLimits) -> None:
        """Leave it to the server; see ``ClassifyBackend``."""

    def classify(self, images: Sequence[bytes | DecodedImage], options: ClassifyOptions) -> Answer:
        """Classify images; see ``ClassifyBackend``.

        An image at which the server fails has that as its error, as long as the server answers for
        another one: if for none of these, for that of the smoke request.

        Raises:
            BackendFailed: the server fails at every image.
            BackendUnavailable: the server does not answer, or not with this bundle.
        """
        self.check(options)
        fields: dict[str, Any] = {"coverage": options.coverage, "top": options.top}
        if options.review_kind is not None:
            fields["review_kind"] = options.review_kind
        files = [each for each in images if isinstance(each, bytes)]
        if len(files) != len(images):
            raise TypeError("this backend takes files alone")
        with self._in_flight:
            told = self._all(files, fields)
            failures = [each for each in told if isinstance(each, BackendFailed)]
            if len(failures) == len(told):
                self._check_alive(failures[0])
                told = self._all(files, fields)  # it may have failed at something else
        return _joined(self._bundle, options, told)

    @property
    def available(self) -> bool:
        """Whether the server has answered the last request, with this bundle."""
        return self._contact.available

    def verify(self) -> None:
        """Check that the server answers, and with this bundle.

        Raises:
            BackendUnavailable, BackendFailed: it does not.
        """
        self._answer(smoke_image(self._bundle), {})

    def drain(self) -> None:
        """Wait until no request is under way."""
        self._in_flight.drain()

    def close(self) -> None:
        """End its threads and connections, after the requests that are under way."""
        self.drain()
        self._pool.shutdown()
        self._transport.close()

    def _all(
        self, images: Sequence[bytes], fields: Fields
    ) -> list[Answer | Refused | BackendFailed]:
        if len(images) == 1:
            return [self._one(images[0], fields)]
        return list(self._pool.map(self._one, images, itertools.repeat(fields)))

    def _check_alive(self, failure: BackendFailed) -> None:
        """Check that a server which has failed at all images of a request answers others.

        Raises:
            BackendFailed: the failure, since the server does not.
        """
        try:
            self.verify()
        except AugrankError as error:
            # Also if it cannot be reached now: a batch waits for its server as long as it takes,
            # and would ask again and again about an image that ends the server each time.
            raise failure from error

    def _one(self, image: bytes, fields: Fields) -> Answer | Refused | BackendFailed:
        """Ask about one image; what is wrong with it, or what the server fails at, is returned."""
        try:
            return self._answer(image, fields)
        except (Refused, BackendFailed) as error:
            return error

    def _answer(self, image: bytes, fields: Fields) -> Answer:
        with self._contact:
            content = self._transport.ask(image, fields)
            return parsed(Answer, content, self._bundle, self._transport)


def _joined(
    bundle: ClassifyBundle,
    options: ClassifyOptions,
    told: Sequence[Answer | Refused | BackendFailed],
) -> Answer:
    """Return the answers about single images as one."""
    answers = [each for each in told if isinstance(each, Answer)]
    return Answer(
        model=bundle.spec.name,
        bundle_version=bundle.version,
        engine=answers[0].engine if answers else "",
        coverage=options.coverage,
        images=tuple(_images(told)),
        timings_ms=Timings(
            decode=sum(each.timings_ms.decode for each in answers),
            embed=sum(each.timings_ms.embed for each in answers),
            score=sum(each.timings_ms.score for each in answers),
            total=sum(each.timings_ms.total for each in answers),
        ),
    )


def _images(told: Sequence[Answer | Refused | BackendFailed]) -> Iterator[ImageAnswer]:
    for each in told:
        if isinstance(each, Answer):
            yield from each.images
        else:
            yield ImageAnswer(error=each.to_dict()["error"])
