"""Report errors and interrupts of the command lines: one message, no traceback."""

import functools
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

from augrank.errors import AugrankError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
EXIT_ERROR, EXIT_INTERRUPT = 2, 130
# A terminal that has ASCII alone shows question marks, instead of ending the command.
for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):
        _stream.reconfigure(errors="replace")


@contextmanager
def command_errors(interrupted: Callable[[], str] | None = None) -> Iterator[None]:
    """Print an AugrankError in red on standard error and exit with 2.

    Of the processes that torchrun starts on a machine, only the first prints.

    Args:
        interrupted: returns the message for an interrupt, which exits with 130. SIGTERM, with which
            SageMaker and torchrun stop a job, then counts as an interrupt. By default interrupts
            are left to typer.
    """
    # Without WORLD_SIZE, LOCAL_RANK is not torchrun's.
    is_local_main = os.environ.get("LOCAL_RANK", "0") == "0" or "WORLD_SIZE" not in os.environ
    before = signal.getsignal(signal.SIGTERM)
    if interrupted is not None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except AugrankError as error:
        if is_local_main:
            console = Console(stderr=True)
            console.print("Error: ", style="bold red", end="")
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_ERROR) from None
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        if is_local_main:
            line = interrupted()
            Console(stderr=True).print(line, style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPT) from None
    finally:
        if interrupted is not None:
            signal.signal(signal.SIGTERM, before)


def friendly_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Wrap a command in ``command_errors``."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with command_errors():
            return command(*args, **kwargs)

    return run
