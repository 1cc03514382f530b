"""TorchServe's handler of the task ``classify``, implemented by ``augrank.runtime.worker``.

TorchServe imports this file by its base name, expects exactly one class in it, and puts the
archive's folder first on ``sys.path``.
"""

from augrank.runtime.worker import Worker


class ClassifyHandler(Worker):
    """Answers classification requests."""

    task_name = "classify"
