"""bundle.json of the task ``classify``."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, model_validator

from augrank.bundle.spec import Bundle, BundleSpec, GraphSpec
from augrank.contracts.run import Precision
from augrank.models.label_head import LabelHeadSpec
from augrank.models.rank_head import RankHeadSpec
from augrank.models.rules import FittedRules
from augrank.models.scorers import HeadSpec
from augrank.models.tags import TagRule


class LabelParity(BaseModel, frozen=True, extra="forbid"):
    """Comparison of a graph on a device with what it answered in training, on held-out images.

    ``export/parity/classify_gate.py`` defines the figures.
    """

    images: int
    other_class: float  # share of answers with another most probable class, near-ties apart
    probability_difference: float  # of the reference's most probable class, mean over answers
    embedding_cosine: float  # lowest over images


class ClassifyGraphSpec(GraphSpec, frozen=True):
    """A graph, and the heads that learned from its embeddings."""

    heads: tuple[LabelHeadSpec, ...]  # one for each label
    rankers: tuple[RankHeadSpec, ...] = ()  # one for each rank
    rules: FittedRules | None = None  # with the thresholds of these heads

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, relative to the bundle."""
        heads: tuple[HeadSpec, ...] = (*self.heads, *self.rankers)
        return (self.file, *(name for head in heads for name in head.paths))

    @model_validator(mode="after")
    def _tells_something(self) -> "ClassifyGraphSpec":
        if not self.heads and not self.rankers:
            raise ValueError("a graph without heads tells nothing")
        return self


class ClassifySpec(BundleSpec, frozen=True):
    """A bundle whose heads tell the labels and the ranks of an image."""

    task: Literal["classify"] = "classify"
    graphs: Mapping[Precision, ClassifyGraphSpec]
    tags: Mapping[str, TagRule] = {}  # by label
    parity: dict[str, LabelParity]  # by graph, such as int8, and int8 under OpenVINO

    @model_validator(mode="after")
    def _same_labels(self) -> "ClassifySpec":
        for precision, graph in self.graphs.items():
            ours = [(head.label, head.classes) for head in graph.heads]
            ranks = [head.rank for head in graph.rankers]
            if ours != [(head.label, head.classes) for head in self.heads] or ranks != [
                head.rank for head in self.rankers
            ]:
                raise ValueError(f"the {precision} graph has heads of other labels or ranks")
        return self

    @property
    def parts(self) -> frozenset[str]:
        """The graphs and the heads."""
        return frozenset(path for graph in self.graphs.values() for path in graph.paths)

    @property
    def heads(self) -> tuple[LabelHeadSpec, ...]:
        """The heads of the graph that servers prefer."""
        return self.graphs[self.preferred].heads

    @property
    def rankers(self) -> tuple[RankHeadSpec, ...]:
        """The heads of ranks of the graph that servers prefer."""
        return self.graphs[self.preferred].rankers

    @property
    def rules(self) -> FittedRules | None:
        """The rules, with the thresholds of the graph that servers prefer."""
        return self.graphs[self.preferred].rules

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels."""
        return tuple(head.label for head in self.heads)

    @property
    def ranks(self) -> tuple[str, ...]:
        """The names of the ranks."""
        return tuple(head.rank for head in self.rankers)

    def example_fields(self) -> dict[str, str]:
        """Return a review kind that the rules know; nothing without rules."""
        return {"review_kind": next(iter(self.rules.rules))} if self.rules else {}


ClassifyBundle = Bundle[ClassifySpec]
