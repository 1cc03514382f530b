"""The plan of a request: the checked head, context and augmentations that answer it."""

import json
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.contracts.manifest import PRODUCT_TYPE
from augrank.errors import BadRequest, one_of
from augrank.images.augmentations import ORIGINAL, Augmentation
from augrank.images.decode import sha256_of_image
from augrank.models.context import ContextEncoder
from augrank.models.targets import Target
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.request import MAX_ALTERNATES, Request
from augrank.trust.estimator import Estimator


@dataclass(frozen=True)
class RequestPlan:
    """A request that can be answered if its image can be decoded."""

    request: Request
    estimator: Estimator  # of the target
    context: Float32Array  # (C,)
    product_type: str | None  # of the alternates; None for the image's own
    augmentations: tuple[Augmentation, ...]  # to apply, the original first
    applied: NDArray[np.int64]  # (N,) augmentation of each candidate, in the set
    sha256: str  # of the image
    started: float  # time.perf_counter

    @property
    def target(self) -> Target:
        """The target."""
        return self.estimator.spec.target

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the augmentations to apply."""
        return tuple(augmentation.name for augmentation in self.augmentations)

    @property
    def cache_key(self) -> Hashable:
        """All parts of the request that determine its answer."""
        return (
            self.sha256,
            self.target.name,
            json.dumps(dict(self.request.context), sort_keys=True, default=str),
            self.names,
            self.request.augmentation,
            self.request.min_lift,
            self.request.alternates,
            self.request.thumbnails,
        )


class Planner:
    """Plans requests for one bundle."""

    def __init__(
        self,
        spec: RecommendSpec,
        estimators: Mapping[str, Estimator],
        context: ContextEncoder,
        alternates: Alternates | None,
    ) -> None:
        self._spec, self._estimators = spec, estimators
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
        names = self._spec.augmentations.names
        augmentations = self._augmentations(request.candidates)
        applied = [self._known(request.augmentation, "augmentation")]
        applied += [augmentation.name for augmentation in augmentations[1:]]
        return RequestPlan(
            replace(request, context=context),
            self._estimators[self._spec.head(request.target).target.name],
            encoded,
            product_type,
            augmentations,
            np.array([names.index(name) for name in applied]),
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
            self._known(name, "candidate")
        return tuple(a for a in offered.augmentations if a.name in {ORIGINAL, *names})

    def _known(self, name: str, what: str) -> str:
        """Return the name of an augmentation of the set.

        Raises:
            BadRequest: it is not in the set.
        """
        offered = self._spec.augmentations.names
        if name not in offered:
            raise BadRequest(
                f"the {what} is not known to this bundle",
                expected=one_of(offered, name),
                got=repr(name),
            )
        return name
