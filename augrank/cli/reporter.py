"""The reporter of the command lines: progress bars on a terminal, plain lines in a log."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable

from augrank.reporting import Advance, ProgressLines, Reporter, ShowStatus, Style, Table

LOG_WIDTH = 150  # characters; a log has no width to wrap at
STYLES: dict[Style, str | None] = {"plain": None, "heading": "bold", "warning": "yellow"}


class RichReporter(Reporter):
    """Prints to one console."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _default_console()

    def say(self, text: str, *, style: Style = "plain") -> None:
        """Print one message."""
        self.console.print(text, style=STYLES[style], markup=False, highlight=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """Print a table."""
        shown = RichTable(title=escape(table.title), title_justify="left")
        for column in table.columns:
            left = table.is_left_aligned(column)
            shown.add_column(escape(column), justify="left" if left else "right")
        for row in table.rows:
            shown.add_row(*map(escape, row))
        self.console.print(shown)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Show a bar that disappears at its end; in a log, print a line every ten seconds."""
        if self.console.is_terminal:
            with self._progress_bar(title, total) as advance:
                yield advance
        else:
            yield ProgressLines(self, title, total, unit)

    @contextmanager
    def status(self) -> Iterator[ShowStatus]:
        """Show one changing line; in a log, print each text as a line on standard error."""
        with status_line(self.console) as step:
            yield step

    @contextmanager
    def _progress_bar(self, title: str, total: int) -> Iterator[Advance]:
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


@contextmanager
def status_line(console: Console) -> Iterator[ShowStatus]:
    """Yield a function that changes one status line.

    If the console is not a terminal, each text is a separate line on standard error, so that
    another program can read what a command prints.
    """
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(text)
    else:
        notes = Console(stderr=True)
        yield lambda text: notes.print(text, soft_wrap=True, markup=False, highlight=False)


def _default_console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)
