"""What a user sees while waiting: bars on a terminal, plain lines in a log."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
LINE_EVERY_S = 10.0


class Advance(Protocol):
    """Reports that ``count`` more are done; ``text`` is shown behind the bar."""

    def __call__(self, count: int = 1, text: str = "") -> None:  # noqa: D102
        ...


class Display:
    """Writes to one console; ``quiet`` writes nothing (tests, callers from Python)."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(quiet=quiet)
        self.quiet = quiet

    def say(self, text: str, *, style: str | None = None) -> None:
        """One line."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """A bar that goes away when it is done; off a terminal, a line every ten seconds."""
        if self.quiet:
            yield lambda count=1, text="": None
        elif self.console.is_terminal:
            with self._rich_bar(title, total) as advance:
                yield advance
        else:
            yield _LineAdvance(self, title, total, unit)

    def track(self, items: Iterable[Item], title: str, total: int, unit: str) -> Iterator[Item]:
        """Iterate with a bar."""
        with self.bar(title, total, unit) as advance:
            for item in items:
                yield item
                advance()

    @contextmanager
    def _rich_bar(self, title: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", style="dim"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total, text="")
            yield lambda count=1, text="": progress.update(task, advance=count, text=text)


class _LineAdvance:
    def __init__(self, display: Display, title: str, total: int, unit: str) -> None:
        self._display, self._title, self._total, self._unit = display, title, total, unit
        self._done, self._start = 0, time.monotonic()
        self._next = self._start + LINE_EVERY_S

    def __call__(self, count: int = 1, text: str = "") -> None:
        self._done += count
        now = time.monotonic()
        if now < self._next or self._done >= self._total:
            return
        self._next = now + LINE_EVERY_S
        left_s = (now - self._start) / max(1, self._done) * (self._total - self._done)
        self._display.say(
            f"{self._title}: {self._done:,}/{self._total:,} {self._unit}, {left_s:.0f} s left"
            + (f", {text}" if text else "")
        )
