"""Shared by all tasks: options and result of an export, and the lookup of a task's module."""

import importlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from augrank.bundle.load import library_versions
from augrank.bundle.spec import MODEL_NAME, BundleSpec
from augrank.contracts.run import RunRecord
from augrank.contracts.validation import NAME_RULE
from augrank.errors import DataError
from augrank.models.engines import Device
from augrank.reporting import ShowStatus, Table
from export.run_reader import Run


def installed_devices() -> tuple[Device, ...]:
    """Return the devices on which graphs can be compared with training here."""
    return ("cpu", "openvino") if find_spec("openvino") is not None else ("cpu",)


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        name: the model's name in URLs.
        version: the user's version label.
        int8: include the run's int8 graph, the default of CPUs that are quicker with it if it
            passes its gate.
        fp16: also write an fp16 graph, a GPU's default; left out if it does not pass its gate.
        devices: on which graphs are compared with training, and then may be used: onnxruntime on
            the CPU, and OpenVINO if it is installed.
        sagemaker: also write ``model.tar.gz``, the same files for SageMaker.
        rules: rules.yaml of a classifier.
        tags: tags.yaml of a classifier.
    """

    name: str
    version: str = "1.0"
    int8: bool = True
    fp16: bool = False
    devices: tuple[Device, ...] = field(default_factory=installed_devices)
    sagemaker: bool = False
    rules: Path | None = None
    tags: Path | None = None

    def __post_init__(self) -> None:
        if not MODEL_NAME.fullmatch(self.name):
            raise DataError(
                "invalid model name",
                expected=NAME_RULE,
                got=repr(self.name),
                remedy="Give one with --name.",
            )


@dataclass(frozen=True)
class Export:
    """The result of an export."""

    bundle: Path
    archive: Path
    model_tar: Path | None  # SageMaker's, if it was requested
    spec: BundleSpec
    report: Table  # the figures of the gate
    rejected: dict[str, str]  # graphs that did not pass it, and the reasons, for display


def common_fields(record: RunRecord, options: ExportOptions) -> dict[str, Any]:
    """Return the fields of bundle.json that do not depend on the task, before the gate.

    fp32 is the default, and there are no files.
    """
    return {
        "name": options.name,
        "version": options.version,
        "backbone": record.backbone,
        "image_size": record.image_size,
        "mean": record.mean,
        "std": record.std,
        "feature_width": record.feature_width,
        "passed": {"cpu": ("fp32",)},
        "metrics": {"backbone": record.backbone_metrics, "run": record.fingerprint},
        "library_versions": library_versions(),
        "files": {},
    }


def refuse_rules(options: ExportOptions, task: str) -> None:
    """Refuse rules for a task that has none.

    Raises:
        DataError: there are rules.
    """
    for name, file in (("rules", options.rules), ("tags", options.tags)):
        if file is not None:
            raise DataError(
                f"{name} are for classifiers", expected=f"no --{name}", got=f"a run of {task!r}"
            )


class Build(Protocol):
    """A task's ``build``: exports a run, or writes nothing and raises."""

    def __call__(
        self, run: Run[RunRecord], dist: Path, options: ExportOptions, progress: ShowStatus
    ) -> Export:
        """Export ``run`` to ``dist``."""


def build_of_task(task: str) -> Build:
    """Return ``build`` of the module ``export.tasks.TASK``.

    Raises:
        DataError: the module does not exist.
    """
    name = f"{__package__}.{task}"
    if not task.isidentifier() or find_spec(name) is None:
        raise DataError(
            f"runs of the task {task!r} cannot be exported", remedy="Update this clone."
        )
    build: Build | None = getattr(importlib.import_module(name), "build", None)
    if build is None:
        raise DataError(f"{name} is not the module of a task", got=f"task {task!r}")
    return build
