"""run.json of the task ``recommend``."""

from typing import Literal

from augrank.contracts.run import RunRecord
from augrank.images.augmentations import AugmentationSet
from augrank.models.context import ContextColumn
from augrank.models.head import HeadSpec
from augrank.models.targets import Target


class RecommendRun(RunRecord, frozen=True):
    """A run whose heads score augmented versions of an image in a context."""

    task: Literal["recommend"] = "recommend"
    augmentations: AugmentationSet
    augmentation_hash: str
    context: tuple[ContextColumn, ...]
    targets: tuple[Target, ...] = ()
    heads: tuple[HeadSpec, ...]
