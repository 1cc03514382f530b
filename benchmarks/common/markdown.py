"""Render Markdown sections from results, with the Jinja templates of ``templates/``.

Paragraphs of a template are wrapped for readability; rendered, each is one line.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.common.results import Results
from benchmarks.common.statistics import figure_text

TEMPLATES = Path(__file__).with_name("templates")
BLOCK = re.compile(r"\n\s*\n")


def render(template: str, results: Results | None = None, **values: Any) -> str:
    """Render a template of ``templates/`` with the keys of results and further values."""
    text = _environment().get_template(template).render({**(results or {}), **values})
    return "\n\n".join(_unwrapped(block) for block in BLOCK.split(text.strip()))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure_text, fixed=_fixed, percent=_percent, number=_number)
    return environment


def _unwrapped(block: str) -> str:
    """Put a paragraph on one line; tables keep their lines."""
    lines = [line.strip() for line in block.splitlines()]
    return "\n".join(lines) if block.lstrip().startswith("|") else " ".join(lines)


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _percent(value: float, digits: int = 0) -> str:
    return f"{value:.{digits}%}"


def _number(value: object) -> str:
    """Format as ``53,317,349`` or ``18.73``; text is unchanged."""
    return f"{value:,.2f}".removesuffix(".00") if isinstance(value, int | float) else str(value)
