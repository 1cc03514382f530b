"""What the benchmarks' commands tell while they run, and what was typed."""

import shlex
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape


def timed_notes() -> Callable[[str], None]:
    """Prints what is being done, with the time since the start, on standard error."""
    start, notes = time.monotonic(), Console(stderr=True)

    def note(text: str) -> None:
        minutes, seconds = divmod(round(time.monotonic() - start), 60)
        notes.print(f"[dim]{minutes}:{seconds:02d}[/dim] {escape(text)}", highlight=False)

    return note


def typed_command() -> str:
    """What was typed."""
    return "python -m benchmarks " + shlex.join(sys.argv[1:])
