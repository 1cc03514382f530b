"""run.json: the record that training writes into a finished run, and that export reads.

This module has the fields of every task; ``<task>_run.py`` beside it adds a task's own fields.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from augrank.contracts.task_models import model_of_task, tasks_in
from augrank.contracts.validation import first_fault
from augrank.errors import DataError, one_of

RUN_FILE = "run.json"
RUN_FORMAT: Final = 2
PACKAGE = "augrank.contracts"
BackboneName = Literal["resnet18", "resnet34", "resnet50"]


class RunRecord(BaseModel, frozen=True, extra="forbid"):
    """The contents of run.json that do not depend on the task.

    The format number is incremented if a reader of the old format would misread the new one.
    """

    format: Literal[2] = RUN_FORMAT
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
    backbone_metrics: dict[str, Any] = Field(default_factory=dict)
    rows: dict[str, Any] = Field(default_factory=dict)  # counts of the manifest's rows
    library_versions: dict[str, str] = Field(default_factory=dict)
    seed: int
    config: dict[str, Any] = Field(default_factory=dict)  # training's own options
    fingerprint: str  # of the options and data that the run was trained with


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
    task = str(content.get("task"))
    try:
        model = model_of_task(PACKAGE, "run", task, RunRecord)
    except KeyError:
        raise DataError(
            f"{source} is of a task that this version does not know",
            expected=f"task {one_of(tasks_in(PACKAGE, 'run'), task)}",
            got=repr(task),
            remedy="Install the augrank version that trained it, or train again.",
        ) from None
    try:
        return model.model_validate(content)
    except ValidationError as error:
        fault = first_fault(error)
        raise DataError(
            f"{source} does not fit its schema at {fault.name}",
            expected=fault.expected,
            remedy="Train again with this version.",
        ) from error
