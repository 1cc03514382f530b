"""TorchServe's handler of the task ``recommend``: all of it is ``augrank.runtime.worker``.

TorchServe imports this file by its base name, expects exactly one class in it, and has the
archive's folder first on ``sys.path``.
"""

from augrank.runtime.worker import Worker


class RecommendHandler(Worker):
    """Answers recommendation requests."""

    task_name = "recommend"
