"""A request, checked but for its image: which head, context and augmentations answer it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.spec import BundleSpec
from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.errors import BadRequest, one_of
from augrank.images.augmentations import ORIGINAL, Augmentation
from augrank.images.decode import sha256_of_image
from augrank.models.context import ContextEncoder
from augrank.models.head import Head
from augrank.runtime.cache import Key
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.request import MAX_ALTERNATES, Request

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RequestPlan:
    """A request that can be answered, if its image can be read."""

    request: Request
    head: Head
    context: Floats  # (C,)
    product_type: str | None  # that alternates are to be of; None for the image's own
    augmentations: tuple[Augmentation, ...]  # the original first
    sha256: str  # of the image
    started: float  # time.perf_counter

    @property
    def cache_key(self) -> Key:
        """All of a request that decides its answer."""
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
        spec: BundleSpec,
        heads: Mapping[str, Head],
        context: ContextEncoder,
        alternates: Alternates | None,
    ) -> None:
        self._spec, self._heads = spec, heads
        self._context, self._alternates = context, alternates

    def plan(self, request: Request) -> RequestPlan:
        """Check all of a request but its image.

        Raises:
            RequestError: what is wrong with its target, context or options.
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

    def _read_context(self, context: dict[str, Any]) -> tuple[Floats, str | None]:
        """Return the encoded context, and the product type that alternates are to be of.

        A product type may always be given: it chooses alternates even where no head uses it. Its
        spelling becomes the catalogue's.
        """
        product_type = context.get(PRODUCT_TYPE) or None
        if self._alternates is None or PRODUCT_TYPE in self._context.names:
            return self._context.encode(context), product_type
        of_heads = {name: value for name, value in context.items() if name != PRODUCT_TYPE}
        if product_type is not None:
            context[PRODUCT_TYPE] = product_type = self._alternates.check_type(product_type)
        return self._context.encode(of_heads), product_type

    def _augmentations(self, names: tuple[str, ...] | None) -> tuple[Augmentation, ...]:
        """The wanted augmentations in the bundle's order, the original always among them."""
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
