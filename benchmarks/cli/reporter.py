"""Messages with the time since the start."""

import time

from rich.console import Console
from rich.markup import escape


class TimedReporter:
    """Prints each message behind minutes and seconds, on standard error."""

    def __init__(self) -> None:
        self._start, self._console = time.monotonic(), Console(stderr=True)

    def say(self, text: str) -> None:
        """Print ``0:12 text``."""
        minutes, seconds = divmod(round(time.monotonic() - self._start), 60)
        stamp = f"[dim]{minutes}:{seconds:02d}[/dim]"
        self._console.print(f"{stamp} {escape(text)}", highlight=False)
