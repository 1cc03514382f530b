"""Figures of a fixed size, drawn without a display and written as PNG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI, SIZE_INCHES = 110, (7.0, 4.2)


@contextmanager
def figure(file: Path) -> Iterator[Axes]:
    """Yield axes to draw on, and write the figure when the block ends."""
    canvas = Figure(figsize=SIZE_INCHES)
    FigureCanvasAgg(canvas)
    yield canvas.subplots()
    canvas.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(file, dpi=DPI)
