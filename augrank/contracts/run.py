"""run.json: the record that training writes into a finished run, and that export reads.

This module has the fields of every task; ``<task>_run.py`` beside it adds a task's own fields.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from augrank.contracts.task_models import TaskModels
from augrank.errors import DataError

RUN_FILE = "run.json"
RUN_FORMAT: Final = 5
BackboneName = Literal[
    "resnet18", "resnet34", "resnet50", "mobilenet_v3_large", "efficientnet_lite0"
]
Precision = Literal["fp32", "fp16", "int8"]  # of a graph


class GraphRecord(BaseModel, frozen=True, extra="forbid"):
    """An ONNX graph of the backbone, and what belongs to it.

    Graphs of other precisions embed images a little differently. So each has what was learned from
    its own embeddings; a task adds that.
    """

    file: str  # relative to the run: graphs/int8.onnx
    reference: str  # relative to the run: its embeddings of held-out images
    device: Literal["torch", "cpu", "openvino"]  # that computed its embeddings
    metrics: dict[str, Any] = Field(default_factory=dict)  # of recognising augmentations
    shortfalls: tuple[str, ...] = ()  # what a user would lose by it, compared with fp32


class RunRecord(BaseModel, frozen=True, extra="forbid"):
    """The contents of run.json that do not depend on the task.

    The format number is incremented if a reader of the old format would misread the new one.
    """

    format: Literal[5] = RUN_FORMAT
    complete: Literal[True] = True
    task: str
    name: str = ""
    backbone: BackboneName
    image_size: int = Field(gt=0)  # pixels, of the square working image
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    feature_width: int = Field(gt=0)
    images: Path  # the folder that the paths of the catalogue start from
    catalogue: str  # relative to the run: catalogue.csv
    weights_file: str  # relative to the run: backbone.pt
    graphs: Mapping[Precision, GraphRecord]  # none if nothing can be served
    backbone_metrics: dict[str, Any] = Field(default_factory=dict)
    rows: dict[str, Any] = Field(default_factory=dict)  # counts of the manifest's rows
    library_versions: dict[str, str] = Field(default_factory=dict)
    seed: int
    config: dict[str, Any] = Field(default_factory=dict)  # training's own options
    fingerprint: str  # of the options and data that the run was trained with


MODELS = TaskModels("augrank.contracts", "run", RunRecord)


def parse_run(content: Mapping[str, Any], source: Path) -> RunRecord:
    """Validate the contents of a run.json with the model of its task.

    Args:
        content: the parsed JSON object.
        source: the file, for messages.

    Raises:
        DataError: the run is not finished, of another format, of an unknown task, or damaged.
    """
    if content.get("format") != RUN_FORMAT or not content.get("complete"):
        raise DataError(
            f"{source} is not the record of a finished run of this version",
            expected=f"a complete run of format {RUN_FORMAT}",
            got=f"format {content.get('format')}, complete {content.get('complete')}",
            remedy="Train again with this version.",
        )
    return MODELS.parse(
        content, source=str(source), error=DataError, remedy="Train again with this version."
    )
