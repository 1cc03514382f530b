"""One line that says what is being done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def status_line(console: Console) -> Iterator[Callable[[str], None]]:
    """Something to tell each step to: one changing line, or a line each where it is no terminal.

    Lines of their own go to standard error, so that what a command prints can be read by another.
    """
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(text)
    else:
        notes = Console(stderr=True)
        yield lambda text: notes.print(text, soft_wrap=True, markup=False, highlight=False)
