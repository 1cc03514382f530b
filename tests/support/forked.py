"""Commands for a test to kill, in processes that start fast: they are forked with imports loaded.

Such a process has the test's current environment, its own process group, and no output.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess

IMPORTED = [__name__, "xgboost", "boto3", "augrank.cli.app", "export.cli", "benchmarks.cli.app",
            "benchmarks.instances.aws"]  # fmt: skip


def start(
    app: str, words: Sequence[str], prepare: Callable[[], None] | None = None
) -> ForkServerProcess:
    """Run a command in a new process.

    Args:
        app: The module of its typer app.
        words: The words of the command line.
        prepare: A module-level function that the process calls first.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(IMPORTED)  # has an effect the first time only
    process = server.Process(target=_run, args=(app, list(words), dict(os.environ), prepare))
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """Kill the process and everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _run(
    app: str, words: list[str], environment: Mapping[str, str], prepare: Callable[[], None] | None
) -> None:
    os.setsid()
    os.environ.update(environment)
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)
    if prepare is not None:
        prepare()
    importlib.import_module(app).app(words, standalone_mode=False)
