"""The module of a task, found by name: a new task adds a file and changes none."""

import importlib
from collections.abc import Callable, Mapping
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol, cast

from augrank.errors import DataError, one_of
from augrank.reporting import Reporter
from training.common.context import TrainContext
from training.run.epoch import Epoch

if TYPE_CHECKING:
    from training.backbone.model import InitialWeights
    from training.data.dataset import Dataset

NOT_TASKS = ("base", "run")


class TrainTask(Protocol):
    """What a module ``training.tasks.TASK`` defines."""

    def fit(
        self,
        data: "Dataset",
        ctx: TrainContext,
        on_epoch: Callable[[Epoch], None],
        weights: "InitialWeights | None",
    ) -> dict[str, Any] | None:
        """Train a run; return report.json in the main process (rank 0), None elsewhere."""

    def print_report(self, report: Mapping[str, Any], reporter: Reporter) -> None:
        """Print the summary of a finished run."""


def check_task(task: str) -> None:
    """Check that a task can be trained, without importing torch.

    Raises:
        DataError: there is no such task; names those that there are.
    """
    modules = iter_modules(importlib.import_module(__package__ or "").__path__)
    tasks = sorted({module.name for module in modules}.difference(NOT_TASKS))
    if task not in tasks:
        raise DataError("--task is not valid", expected=one_of(tasks, task), got=repr(task))


def load_task(task: str) -> TrainTask:
    """Import ``training.tasks.TASK``, which imports torch."""
    check_task(task)
    return cast(TrainTask, importlib.import_module(f"{__package__}.{task}"))
