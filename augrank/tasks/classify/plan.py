"""The plan of a request: its checked options, and the digests of its images."""

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from augrank.errors import AugrankError, BadRequest
from augrank.images.decode import sha256_of_image
from augrank.models.rules import FittedRules
from augrank.models.tags import TagRules, check_configured
from augrank.tasks.classify.request import Request, Sent, validated
from augrank.tasks.isolation import isolated

MAX_IMAGES = 100


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


def plan_request(
    request: Request,
    classes: Mapping[str, tuple[str, ...]],
    rules: FittedRules | None,
    tags: TagRules,
) -> RequestPlan:
    """Check everything in a request except its images.

    Args:
        request: as it was sent.
        classes: of each label of the bundle.
        rules: of the loaded graph.
        tags: of the bundle.

    Raises:
        AugrankError: there are too few or too many images, an option is invalid, or the only image
            could not be read from the request.
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
        if rules is None:
            raise BadRequest(
                "this bundle has no rules, so a review kind decides nothing",
                expected="no review_kind",
                got=repr(request.review_kind)[:80],
                remedy="Export it with --rules rules.yaml.",
            )
        request = replace(request, review_kind=rules.find(request.review_kind))
    if request.configured:
        configured = check_configured(tags, classes, request.configured)
        request = replace(request, configured=configured)
    found = [isolated(_digest, image) for image in request.images]
    for each in found:
        if request.single and isinstance(each, AugrankError):
            raise each
    images = tuple(
        each if isinstance(each, AugrankError) else image
        for each, image in zip(found, request.images, strict=True)
    )
    digests = tuple(None if isinstance(each, AugrankError) else each for each in found)
    return RequestPlan(replace(request, images=images), digests, started)


def _digest(image: Sent) -> str:
    """Return an image's sha256.

    Raises:
        AugrankError: it could not be read from the request, or is no array of an image.
    """
    if isinstance(image, AugrankError):
        raise image
    return sha256_of_image(image)
