"""How every command line reports errors: one message, no traceback, exit code 2."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from augrank.errors import AugrankError

EXIT_USER, EXIT_INTERRUPT = 2, 130
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@contextmanager
def friendly_exit(
    *, on_interrupt: Callable[[], str] | None = None, quiet: bool = False
) -> Iterator[None]:
    """Turn an AugrankError into a message on standard error and exit code 2.

    Args:
        on_interrupt: returns what to print after Ctrl-C, such as how to resume; the exit code is
            then 130. By default typer handles Ctrl-C.
        quiet: print nothing, as in all processes of a group but one.
    """
    try:
        yield
    except AugrankError as error:
        if not quiet:
            console = Console(stderr=True, highlight=False)
            console.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(EXIT_USER) from None
    except KeyboardInterrupt:
        if on_interrupt is None:
            raise
        if not quiet:
            console = Console(stderr=True)
            console.print(on_interrupt(), style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPT) from None


def friendly_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Run a command inside ``friendly_exit``."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with friendly_exit():
            return command(*args, **kwargs)

    return run
