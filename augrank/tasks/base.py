"""The interface between a model server and a task: parse, plan, answer.

    bytes and fields ─ RequestBody ─ parse ─ request ─ plan ─┐
                                                             ├─ answer (several plans together)
    bytes and fields ─ RequestBody ─ parse ─ request ─ plan ─┘

``augrank.runtime`` reads requests into a ``RequestBody`` and uses a task through the protocols
below only.
"""

import importlib
import importlib.util
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from augrank.bundle.spec import Bundle, BundleSpec
from augrank.contracts.run import Precision
from augrank.errors import AugrankError, BundleError, RequestError
from augrank.models.embedding_cache import DEFAULT_MB
from augrank.models.engines import Device


@dataclass(frozen=True)
class RequestBody:
    """One request as received, with the image separate from the fields."""

    image: bytes  # the file, as it was sent; the first of several
    # Flat values by name, mostly text: the worker's defaults, header fields, multipart parts.
    fields: Mapping[str, Any]
    # The members of a JSON body except the image, typed and nested; empty for other bodies.
    content: Mapping[str, Any]
    # Several images, of tasks that answer for several: files, or why one could not be read.
    images: tuple[bytes | RequestError, ...] | None = None
    urls_allowed: bool = False  # whether a body may name its images by URL


@dataclass(frozen=True)
class EngineOptions:
    """Options of a task's backbone; None leaves the choice to the bundle or the machine."""

    threads: int | None = None
    precision: Precision | None = None
    device: Device = "auto"
    spin: bool = False  # whether the backbone's idle threads spin between calls
    embedding_cache_mb: float = DEFAULT_MB  # for embeddings of the images that were used last


class StageTimings(Protocol):
    """Milliseconds by stage; iterating gives (stage, milliseconds)."""

    @property
    def total(self) -> float:
        """The time from the start of planning to the answer."""

    def __iter__(self) -> Iterator[tuple[str, Any]]: ...


class TaskAnswer(Protocol):
    """An answer: a pydantic model that has at least these two fields."""

    @property
    def cached(self) -> bool:
        """Whether it was computed for an earlier request."""

    @property
    def reusable(self) -> bool:
        """Whether an equal request may get the same answer: not after a fault of the server."""

    @property
    def timings_ms(self) -> StageTimings:
        """The time of each stage."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return a copy with some fields replaced."""

    def model_dump_json(self) -> str:
        """Return the answer as JSON text."""


class TaskPlan(Protocol):
    """A checked request, whose image has not been decoded."""

    @property
    def started(self) -> float:
        """``time.perf_counter`` when planning began."""

    @property
    def cache_key(self) -> Hashable:
        """All parts of the request that determine its answer."""


RequestT = TypeVar("RequestT")
PlanT = TypeVar("PlanT", bound=TaskPlan)
AnswerT = TypeVar("AnswerT", bound=TaskAnswer)


class Task(Protocol[RequestT, PlanT, AnswerT]):
    """A loaded task. Thread-safe."""

    @property
    def bundle(self) -> Bundle[BundleSpec]:
        """The bundle that answers come from."""

    @property
    def engine(self) -> str:
        """The precision, device and arithmetic of the backbone, for the log."""

    def parse(self, body: RequestBody) -> RequestT:
        """Read a request's options.

        Raises:
            RequestError: a field is invalid.
        """

    def plan(self, request: RequestT) -> PlanT:
        """Check everything in a request except its image.

        Raises:
            RequestError: a field is invalid.
        """

    def answer(self, plans: Sequence[PlanT]) -> list[AnswerT | AugrankError]:
        """Answer several plans together, in order; a failed one gets an error in its place."""

    def warm_up(self) -> None:
        """Run every stage, so that the first request is not slower than later ones."""


AnyTask = Task[Any, Any, Any]


def load_task(bundle: Bundle[BundleSpec], options: EngineOptions) -> AnyTask:
    """Load the task that a bundle was exported for: ``tasks/<task>/pipeline.py: load_task``.

    Raises:
        BundleError: this package does not have the task, or a part of the bundle is incompatible.
    """
    name = f"augrank.tasks.{bundle.spec.task}"
    if importlib.util.find_spec(name) is None:
        raise BundleError(
            f"{bundle.spec.name} is of a task that this package does not serve",
            expected=f"a package {name}",
            got=f"task {bundle.spec.task!r}",
            remedy="Serve with the augrank version that exported it.",
        )
    pipeline = importlib.import_module(f"{name}.pipeline")
    task: AnyTask = pipeline.load_task(bundle, options)
    return task
