"""How the command lines show errors: one message, no traceback, exit code 2."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from augrank.errors import AugrankError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def friendly_errors(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Print an AugrankError in red on standard error and exit with 2."""

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except AugrankError as error:
            console = Console(stderr=True, highlight=False)
            console.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(2) from None

    return run
