"""bundle.json of the task ``recommend``."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from augrank.bundle.spec import Bundle, BundleSpec, GraphSpec, Sha256
from augrank.contracts.run import Precision
from augrank.errors import BundleError, UnknownTarget, one_of
from augrank.images.augmentations import AugmentationSet
from augrank.models.context import ContextColumn, ContextEncoder
from augrank.models.head import HeadSpec


class ParityFigures(BaseModel, frozen=True, extra="forbid"):
    """Comparison of a graph on a device with what it answered in training, on held-out images.

    ``export/parity/figures.py`` defines the figures.
    """

    requests: int
    regret: float  # lost by following the engine's answers, in the reference's probabilities; mean
    verdict_changes: float  # share of requests whose verdict is another one
    probability_difference: float  # of what a user acts on; mean of the worst target's requests
    embedding_cosine: float  # lowest over candidates


class AlternatesSpec(BaseModel, frozen=True, extra="forbid"):
    """The files that describe the catalogue's images."""

    count: int
    attributes: str = "alternates/attributes.json"
    thumbnails: str | None = None  # a zip of JPEGs named by row number

    @property
    def paths(self) -> tuple[str, ...]:
        """The index's files, relative to the bundle."""
        return tuple(path for path in (self.attributes, self.thumbnails) if path is not None)


class EmbeddingFiles(BaseModel, frozen=True, extra="forbid"):
    """The catalogue's images, embedded by one graph."""

    features: str  # float32 (M, F), .npy
    logits: str  # float32 (M, A), .npy


class RecommendGraphSpec(GraphSpec, frozen=True):
    """A graph, the heads that learned from its embeddings, and its embeddings of the catalogue."""

    heads: tuple[HeadSpec, ...] = Field(min_length=1)
    alternates: EmbeddingFiles | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, relative to the bundle."""
        heads = [name for head in self.heads for name in (head.file, head.posterior)]
        index = [self.alternates.features, self.alternates.logits] if self.alternates else []
        return (self.file, *heads, *index)


class RecommendSpec(BundleSpec, frozen=True):
    """A bundle whose heads score augmented versions of an image, and the catalogue's images."""

    task: Literal["recommend"] = "recommend"
    augmentations: AugmentationSet
    augmentation_hash: Sha256
    context: tuple[ContextColumn, ...]
    graphs: Mapping[Precision, RecommendGraphSpec]
    alternates: AlternatesSpec | None
    parity: dict[str, ParityFigures]  # by graph, such as int8, and int8 under OpenVINO

    @model_validator(mode="after")
    def _same_targets(self) -> "RecommendSpec":
        for precision in self.graphs:
            if self._targets_of(precision) != self.targets:
                raise ValueError(f"the {precision} graph has heads of other targets")
        return self

    @property
    def parts(self) -> frozenset[str]:
        """The graphs, the heads and the alternates index."""
        index = self.alternates.paths if self.alternates is not None else ()
        return frozenset(path for graph in self.graphs.values() for path in graph.paths) | {*index}

    @property
    def heads(self) -> tuple[HeadSpec, ...]:
        """The heads of the graph that servers prefer."""
        return self.graphs[self.preferred].heads

    def check(self) -> None:
        """Check that this runtime's augmentations are those of training."""
        if self.augmentations.hash != self.augmentation_hash:
            raise BundleError(
                f"the augmentation set {self.augmentations.name!r} is not the one that was trained",
                expected=f"hash {self.augmentation_hash[:12]}...",
                got=f"{self.augmentations.hash[:12]}...",
                remedy="Serve with the augrank version that exported it, or train and export "
                "again.",
            )

    def example_fields(self) -> dict[str, str]:
        """Return the first target and a context that the heads know."""
        context = ContextEncoder(self.context).example()
        target = {"target": self.heads[0].target.name}
        return target | {name: str(value) for name, value in context.items()}

    def cheap_fields(self) -> dict[str, str]:
        """Return a request for only the original, without alternates."""
        return self.example_fields() | {"candidates": "", "alternates": "0"}

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets that have a head."""
        return self._targets_of(self.preferred)

    def _targets_of(self, precision: Precision) -> tuple[str, ...]:
        return tuple(head.target.name for head in self.graphs[precision].heads)

    def head(self, target: str | None) -> HeadSpec:
        """Return the head of this target; with None, the only head.

        Raises:
            UnknownTarget: lists the available targets.
        """
        if target is None and len(self.heads) == 1:
            return self.heads[0]
        for head in self.heads:
            if head.target.name == target:
                return head
        raise UnknownTarget(
            "the target is not known to this bundle" if target else "the target is missing",
            expected=one_of(self.targets, target),
            got=repr(target) if target else "nothing",
            remedy="Name one of the listed targets.",
        )


RecommendBundle = Bundle[RecommendSpec]
