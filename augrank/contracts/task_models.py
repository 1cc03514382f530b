"""Find a task's model by the name of its file.

``recommend_run.py`` in a package defines ``RecommendRun``, ``classify_run.py`` defines
``ClassifyRun``: a new task adds a file, and no list of tasks changes.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from augrank.contracts.validation import first_fault
from augrank.errors import AugrankError, one_of

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class TaskModels(Generic[Model]):
    """The models of one kind, one for each task.

    Args:
        package: the package's import path, such as ``augrank.contracts``.
        kind: what the models describe, such as ``run``.
        base: the class that they extend.
    """

    package: str
    kind: str
    base: type[Model]

    def tasks(self) -> tuple[str, ...]:
        """Return the tasks for which the package has a ``<task>_<kind>.py``, sorted."""
        suffix = f"_{self.kind}"
        modules = pkgutil.iter_modules(importlib.import_module(self.package).__path__)
        names = (m.name for m in modules if m.name.endswith(suffix))
        return tuple(sorted(name.removesuffix(suffix) for name in names))

    def model(self, task: str) -> type[Model]:
        """Import ``<package>/<task>_<kind>.py`` and return its ``<Task><Kind>``.

        Raises:
            KeyError: the package has no file for this task.
            TypeError: the file's class does not extend ``base``.
        """
        if task not in self.tasks():
            raise KeyError(task)
        module = importlib.import_module(f"{self.package}.{task}_{self.kind}")
        model = getattr(module, task.capitalize() + self.kind.capitalize())
        if not (isinstance(model, type) and issubclass(model, self.base)):
            raise TypeError(f"{module.__name__}.{model} does not extend {self.base.__name__}")
        return model

    def parse(
        self, content: Mapping[str, Any], *, source: str, error: type[AugrankError], remedy: str
    ) -> Model:
        """Validate content with the model of the task that it names.

        Args:
            content: the parsed JSON object, with a field ``task``.
            source: the file, for messages.
            error: the class of the errors.
            remedy: how to write the file anew.

        Raises:
            AugrankError: of class ``error``; the task is unknown, or the content does not fit.
        """
        task = str(content.get("task"))
        try:
            return self.model(task).model_validate(content)
        except KeyError:
            raise error(
                f"{source} is of a task that this version does not know",
                expected=f"task {one_of(self.tasks(), task)}",
                got=repr(task),
                remedy=f"Use the augrank version that wrote it. {remedy}",
            ) from None
        except ValidationError as invalid:
            fault = first_fault(invalid)
            raise error(
                f"{source} does not fit its schema at {fault.name}",
                expected=fault.expected,
                remedy=remedy,
            ) from invalid
