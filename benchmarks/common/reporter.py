"""Report what a benchmark is doing, with the time since its start."""

import time
from typing import Protocol

from rich.console import Console
from rich.markup import escape


class Reporter(Protocol):
    """Prints messages while a benchmark runs."""

    def say(self, text: str) -> None:
        """Print one message."""


class TimedReporter:
    """Prints each message behind the minutes and seconds since the start, on standard error."""

    def __init__(self) -> None:
        self._start, self._console = time.monotonic(), Console(stderr=True)

    def say(self, text: str) -> None:
        """Print ``0:12 text``."""
        minutes, seconds = divmod(round(time.monotonic() - self._start), 60)
        stamp = f"[dim]{minutes}:{seconds:02d}[/dim]"
        self._console.print(f"{stamp} {escape(text)}", highlight=False)
