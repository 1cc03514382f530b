"""How a benchmark says what it is doing, without knowing of a terminal."""

from typing import Protocol


class Reporter(Protocol):
    """Prints messages while a benchmark runs."""

    def say(self, text: str) -> None:
        """Print one message."""
