"""Commands to be killed, in processes that start at once: forked from one with all imported.

Such a process has the tests' environment of the moment, a group of its own, and says nothing.
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
    """Run a command.

    Args:
        app: module of its typer app.
        words: of the command line.
        prepare: called there beforehand; a function of a module.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(IMPORTED)  # heeded the first time
    process = server.Process(target=_run, args=(app, list(words), dict(os.environ), prepare))
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """End it and all that it started."""
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
