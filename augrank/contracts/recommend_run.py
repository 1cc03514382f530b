"""run.json of the task ``recommend``."""

from collections.abc import Mapping
from typing import Literal

from augrank.contracts.run import GraphRecord, Precision, RunRecord
from augrank.images.augmentations import AugmentationSet
from augrank.models.context import ContextColumn
from augrank.models.head import HeadSpec
from augrank.models.targets import Target


class RecommendGraphRecord(GraphRecord, frozen=True):
    """A graph with the heads that learned from its embeddings."""

    heads: tuple[HeadSpec, ...]


class RecommendRun(RunRecord, frozen=True):
    """A run whose heads score augmented versions of an image in a context."""

    task: Literal["recommend"] = "recommend"
    augmentations: AugmentationSet
    augmentation_hash: str
    context: tuple[ContextColumn, ...]
    targets: tuple[Target, ...] = ()
    graphs: Mapping[Precision, RecommendGraphRecord]
