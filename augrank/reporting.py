"""Progress reports of long-running code, independent of a terminal.

Such code accepts a ``Reporter``. The command line passes ``augrank.cli.reporter.RichReporter``, a
job that writes a log ``LogReporter``; tests and callers from Python pass ``NullReporter``.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

Item = TypeVar("Item")
Style = Literal["plain", "heading", "warning"]
LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Table:
    """A table to print. Its first column is left-aligned, the others right-aligned by default."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_aligned: Sequence[str] = ()  # further columns of text

    def is_left_aligned(self, column: str) -> bool:
        """Return whether a column holds text."""
        return column == self.columns[0] or column in self.left_aligned


class Advance(Protocol):
    """Adds ``count`` finished items to a progress bar, and shows ``text`` after it."""

    def __call__(self, count: int = 1, text: str = "") -> None:  # noqa: D102
        ...


class ShowStatus(Protocol):
    """Replaces the text of a status line."""

    def __call__(self, text: str) -> None:  # noqa: D102
        ...


def no_progress(text: str) -> None:
    """Show nothing."""


class Reporter(Protocol):
    """Prints messages, tables, progress bars and a status line."""

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print one message."""

    def table(self, table: Table) -> None:
        """Print a table."""

    def bar(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Show a progress bar while a block runs.

        Args:
            title: name of the operation.
            total: number of items.
            unit: name of the items, plural.
        """

    def track(self, items: Iterable[Item], title: str, total: int, unit: str) -> Iterator[Item]:
        """Iterate over items with a progress bar."""
        with self.bar(title, total, unit) as advance:
            for item in items:
                yield item
                advance()

    def status(self) -> AbstractContextManager[ShowStatus]:
        """Show one changing line while a block runs."""


class NullReporter(Reporter):
    """A reporter that prints nothing."""

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print nothing."""

    def table(self, table: Table) -> None:
        """Print nothing."""

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda count=1, text="": None

    @contextmanager
    def status(self) -> Iterator[ShowStatus]:
        """Show nothing."""
        yield lambda text: None


class LogReporter(Reporter):
    """Prints plain lines on standard output, and the status line on standard error."""

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print one message."""
        print(text, flush=True)

    def table(self, table: Table) -> None:
        """Print a table, its columns aligned with spaces."""
        lines = [table.columns, *table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        self.say(table.title)
        for line in lines:
            cells = zip(table.columns, line, widths, strict=True)
            self.say(
                "  ".join(
                    cell.ljust(width) if table.is_left_aligned(column) else cell.rjust(width)
                    for column, cell, width in cells
                ).rstrip()
            )

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Print a line every ten seconds."""
        yield ProgressLines(self, title, total, unit)

    @contextmanager
    def status(self) -> Iterator[ShowStatus]:
        """Print each text as a line on standard error."""
        yield lambda text: print(text, file=sys.stderr, flush=True)


class ProgressLines:
    """Prints progress as a line every ten seconds, with the remaining time.

    Args:
        reporter: prints the lines.
        title: name of the operation.
        total: number of items.
        unit: name of the items, plural.
    """

    def __init__(self, reporter: Reporter, title: str, total: int, unit: str) -> None:
        self._reporter, self._title, self._total, self._unit = reporter, title, total, unit
        self._done, self._start = 0, time.monotonic()
        self._next = self._start + LINE_EVERY_S

    def __call__(self, count: int = 1, text: str = "") -> None:
        """Add finished items."""
        self._done += count
        now = time.monotonic()
        if now < self._next or self._done >= self._total:
            return
        self._next = now + LINE_EVERY_S
        left_s = (now - self._start) / max(1, self._done) * (self._total - self._done)
        self._reporter.say(
            f"{self._title}: {self._done:,}/{self._total:,} {self._unit}, {left_s:.0f} s left"
            + (f", {text}" if text else "")
        )
