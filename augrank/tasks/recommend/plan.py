"""The plan of a request: the checked head, context and augmentations that answer it."""

import json
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from augrank.arrays import Float32Array
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.errors import BadRequest, one_of
from augrank.images.augmentations import ORIGINAL, Augmentation
from augrank.images.decode import sha256_of_image
from augrank.models.context import ContextEncoder
from augrank.models.head import Head
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.request import MAX_ALTERNATES, Request


@dataclass(frozen=True)
class RequestPlan:
    """A request that can be answered if its image can be decoded."""

    request: Request
    head: Head
    context: Float32Array  # (C,)
    product_type: str | None  # of the alternates; None for the image's own
    augmentations: tuple[Augmentation, ...]  # the original first
    sha256: str  # of the image
    started: float  # time.perf_counter

    @property
    def cache_key(self) -> Hashable:
        """All parts of the request that determine its answer."""
        return (
            self.sha256,
            self.head.spec.target.name,
            json.dumps(dict(self.request.context), sort_keys=True, default=str),
            tuple(augmentation.name for augmentation in self.augmentations),
            self.request.alternates,
            self.request.thumbnails,
        )


class Planner:
    """Plans requests for one bundle."""

    def __init__(
        self,
        spec: RecommendSpec,
        heads: Mapping[str, Head],
        context: ContextEncoder,
        alternates: Alternates | None,
    ) -> None:
        self._spec, self._heads = spec, heads
        self._context, self._alternates = context, alternates

    def plan(self, request: Request) -> RequestPlan:
        """Check everything in a request except its image.

        Raises:
            RequestError: the target, context or options are invalid.
        """
        started = time.perf_counter()
        if not 0 <= request.alternates <= MAX_ALTERNATES:
            raise BadRequest(
                "the number of alternates does not fit",
                expected=f"0 to {MAX_ALTERNATES}",
                got=str(request.alternates),
            )
        context = self._context.canonical(request.context)
        encoded, product_type = self._read_context(context)
        return RequestPlan(
            replace(request, context=context),
            self._heads[self._spec.head(request.target).target.name],
            encoded,
            product_type,
            self._augmentations(request.candidates),
            sha256=sha256_of_image(request.image),
            started=started,
        )

    def _read_context(self, context: dict[str, Any]) -> tuple[Float32Array, str | None]:
        """Return the encoded context, and the product type of the alternates.

        A product type may always be given: it selects alternates even if no head uses it. It is
        converted to the catalogue's spelling.
        """
        product_type = context.get(PRODUCT_TYPE) or None
        if self._alternates is None or PRODUCT_TYPE in self._context.names:
            return self._context.encode(context), product_type
        of_heads = {name: value for name, value in context.items() if name != PRODUCT_TYPE}
        if product_type is not None:
            context[PRODUCT_TYPE] = product_type = self._alternates.check_type(product_type)
        return self._context.encode(of_heads), product_type

    def _augmentations(self, names: tuple[str, ...] | None) -> tuple[Augmentation, ...]:
        """Return the named augmentations in the bundle's order, always with the original."""
        offered = self._spec.augmentations
        if names is None:
            return offered.augmentations
        for name in names:
            if name not in offered.names:
                raise BadRequest(
                    "the candidate is not known to this bundle",
                    expected=one_of(offered.names, name),
                    got=repr(name),
                )
        return tuple(a for a in offered.augmentations if a.name in {ORIGINAL, *names})
