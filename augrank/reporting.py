"""How long-running code reports progress, without knowing of a terminal.

Code takes a ``Reporter``. The command line passes ``augrank.cli.reporter.RichReporter``; tests and
callers from Python pass ``NullReporter``, which prints nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

Item = TypeVar("Item")
Style = Literal["plain", "heading", "warning"]


@dataclass(frozen=True)
class Table:
    """A table to print: one column of text, then right-aligned columns unless said otherwise."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_aligned: Sequence[str] = ()  # further columns of text


class Advance(Protocol):
    """Adds ``count`` finished items to a progress bar, and shows ``text`` behind it."""

    def __call__(self, count: int = 1, text: str = "") -> None:  # noqa: D102
        ...


class Step(Protocol):
    """Replaces the text of a status line."""

    def __call__(self, text: str) -> None:  # noqa: D102
        ...


class Reporter(Protocol):
    """Prints messages, tables, progress bars and a status line."""

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print one message."""

    def table(self, table: Table) -> None:
        """Print a table."""

    def bar(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Show a progress bar while a block runs.

        Args:
            title: what is done.
            total: number of items.
            unit: what an item is, plural.
        """

    def track(self, items: Iterable[Item], title: str, total: int, unit: str) -> Iterator[Item]:
        """Iterate over items with a progress bar."""

    def status(self) -> AbstractContextManager[Step]:
        """Show one changing line while a block runs."""


class NullReporter:
    """A reporter that prints nothing."""

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print nothing."""

    def table(self, table: Table) -> None:
        """Print nothing."""

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda count=1, text="": None

    def track(self, items: Iterable[Item], title: str, total: int, unit: str) -> Iterator[Item]:
        """Iterate over items."""
        yield from items

    @contextmanager
    def status(self) -> Iterator[Step]:
        """Show nothing."""
        yield lambda text: None
