"""Find a task's model by the name of its file.

``recommend_run.py`` in a package defines ``RecommendRun``, ``classify_run.py`` defines
``ClassifyRun``: a new task adds a file, and no list of tasks changes.
"""

import importlib
import pkgutil
from typing import TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)


def tasks_in(package: str, kind: str) -> tuple[str, ...]:
    """Return the tasks for which a package has a ``<task>_<kind>.py``, sorted."""
    suffix = f"_{kind}"
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return tuple(sorted(m.name.removesuffix(suffix) for m in modules if m.name.endswith(suffix)))


def model_of_task(package: str, kind: str, task: str, base: type[Model]) -> type[Model]:
    """Import ``<package>/<task>_<kind>.py`` and return its ``<Task><Kind>``.

    Args:
        package: the package's import path, such as ``augrank.contracts``.
        kind: what the model describes, such as ``run``.
        task: one of ``tasks_in(package, kind)``.
        base: the class that the model extends.

    Raises:
        KeyError: the package has no file for this task.
        TypeError: the file's class does not extend ``base``.
    """
    if task not in tasks_in(package, kind):
        raise KeyError(task)
    module = importlib.import_module(f"{package}.{task}_{kind}")
    model = getattr(module, task.capitalize() + kind.capitalize())
    if not (isinstance(model, type) and issubclass(model, base)):
        raise TypeError(f"{module.__name__}.{model} does not extend {base.__name__}")
    return model
