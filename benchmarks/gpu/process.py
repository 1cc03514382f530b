"""Run a row in a process of its own, for as long as its share of the time.

A CUDA error leaves a process unable to use the GPU, and a crash or a hang would cost the visit:
neither reaches the rows after it. Memory of the GPU is free again when the row ends.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Literal

from augrank.errors import reason
from benchmarks.gpu.config import Figures, NotPossibleHere, RowContext

Measure = Callable[[RowContext], Figures]
Outcome = Literal["measured", "failed", "left out"]
UNWIND_S = 20.0  # for a stopped row to end its servers and processes
REASON_CHARACTERS = 600  # the rest of a message is on standard error


class RowFailed(Exception):
    """A row raised an error, crashed, or used up its time."""


def run_in_process(measure: Measure, context: RowContext) -> Figures:
    """Run a row in a new process; its output goes to standard error.

    Args:
        measure: a function that can be pickled.
        context: the row's; ``limit_s`` ends it.

    Returns:
        The row's figures.

    Raises:
        NotPossibleHere: the row says so.
        RowFailed: gives the reason.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_run, args=(theirs, measure, context))
    process.start()
    theirs.close()
    try:
        if not ends_within(ours, context.limit_s):
            raise RowFailed(f"stopped after its {context.limit_s:.0f} s")
        outcome, content = ours.recv()
        process.join(UNWIND_S)
    except EOFError:
        process.join(UNWIND_S)
        raise RowFailed(f"its process ended with {_exit(process.exitcode)}") from None
    finally:
        _stop(process)
        ours.close()
    if outcome == "left out":
        raise NotPossibleHere(content)
    if outcome == "failed":
        raise RowFailed(content)
    figures: Figures = content
    return figures


def ends_within(connection: Connection, limit_s: float) -> bool:
    """Wait until a row sends its outcome, or its process ends; return whether it did in time."""
    return connection.poll(limit_s)


def _run(connection: Connection, measure: Measure, context: RowContext) -> None:
    """Measure and send the outcome, in a session that is stopped as a whole."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup
    os.dup2(sys.stderr.fileno(), 1)  # standard output is for the command's line of JSON
    if context.config.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for torch here, and for processes of the row
    outcome: tuple[Outcome, object]
    try:
        outcome = "measured", measure(context)
    except NotPossibleHere as error:
        outcome = "left out", str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next row is started
        traceback.print_exc()
        outcome = "failed", f"{type(error).__name__}: {reason(error)}"[:REASON_CHARACTERS]
    connection.send(outcome)
    connection.close()


def _stop(process: SpawnProcess) -> None:
    """Interrupt a row that still runs, so that it ends its servers; then end all it started."""
    assert process.pid is not None
    if process.is_alive():
        os.kill(process.pid, signal.SIGINT)
        process.join(UNWIND_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():  # before it had a session of its own
        process.kill()
    process.join()


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"
