"""run.json of the task ``classify``."""

from collections.abc import Mapping
from typing import Literal

from augrank.contracts.run import GraphRecord, Precision, RunRecord
from augrank.models.label_head import LabelHeadSpec
from augrank.models.rank_head import RankHeadSpec


class ClassifyGraphRecord(GraphRecord, frozen=True):
    """A graph with the heads that learned from its embeddings."""

    heads: tuple[LabelHeadSpec, ...]  # one for each label
    rankers: tuple[RankHeadSpec, ...] = ()  # one for each rank
    # Relative to the run: probabilities of the calibration images, for rules; see label_heads.py.
    calibration: str


class ClassifyRun(RunRecord, frozen=True):
    """A run whose heads tell the labels and the ranks of an image."""

    task: Literal["classify"] = "classify"
    labels: tuple[str, ...]
    ranks: tuple[str, ...] = ()
    graphs: Mapping[Precision, ClassifyGraphRecord]
