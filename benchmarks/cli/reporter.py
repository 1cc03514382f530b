"""Messages with the elapsed time."""

import time

from rich.console import Console
from rich.markup import escape

from augrank.cli.reporter import RichReporter
from augrank.reporting import Style


class TimedReporter(RichReporter):
    """Prints each message after minutes and seconds, on standard error."""

    def __init__(self) -> None:
        super().__init__(Console(stderr=True))
        self._start = time.monotonic()

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print ``0:12 text``."""
        minutes, seconds = divmod(round(time.monotonic() - self._start), 60)
        stamp = f"[dim]{minutes}:{seconds:02d}[/dim]"
        self.console.print(f"{stamp} {escape(text)}", highlight=False, soft_wrap=True)
