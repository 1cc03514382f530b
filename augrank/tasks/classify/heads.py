"""The heads of a loaded graph: one for each label, one for each rank, and the rules."""

from dataclasses import dataclass
from pathlib import Path

from augrank.arrays import Float32Array
from augrank.bundle.classify_spec import ClassifyGraphSpec
from augrank.models.label_head import LabelHead
from augrank.models.rank_head import RankHead
from augrank.models.rules import FittedRules


@dataclass(frozen=True)
class LoadedHeads:
    """Heads that learned from the embeddings of one graph."""

    labels: tuple[LabelHead, ...]
    ranks: tuple[RankHead, ...]
    rules: FittedRules | None

    @classmethod
    def load(cls, graph: ClassifyGraphSpec, directory: Path) -> "LoadedHeads":
        """Read the heads of a graph from a bundle.

        Raises:
            BundleError: a file cannot be read.
        """
        return cls(
            tuple(LabelHead.load(head, directory) for head in graph.heads),
            tuple(RankHead.load(head, directory) for head in graph.rankers),
            graph.rules,
        )

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The classes of each label."""
        return {head.spec.label: head.spec.classes for head in self.labels}

    def probabilities(self, features: Float32Array) -> dict[str, float]:
        """Return all probabilities of one image, by label and class, and by rank.

        Args:
            features: (1, F).
        """
        found = {}
        for head in self.labels:
            for name, probability in zip(
                head.spec.classes, head.probabilities(features)[0], strict=True
            ):
                found[f"{head.spec.label}: {name}"] = float(probability)
        for rank in self.ranks:
            above = rank.probabilities(rank.scores(features))[0]
            found[f"{rank.spec.rank}, rank"] = float(above)
        return found
