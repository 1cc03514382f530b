"""Render the results as sections of docs/scale.md; the rest of the document is by hand."""

import re
import textwrap

from benchmarks.common.markdown import render
from benchmarks.common.results import Results

PARTS = ("rates", "check", "projection", "changes", "history")
WIDTH = 118
BLOCK = re.compile(r"\n\n")


def scale_sections(results: Results) -> list[str]:
    """Return the sections of a results.json of ``python -m benchmarks scale``."""
    sections = [render(f"scale_{part}.md.j2", results) for part in PARTS]
    return ["\n\n".join(map(_wrapped, BLOCK.split(section))) for section in sections]


def _wrapped(block: str) -> str:
    """Wrap a paragraph; tables and headings keep their lines."""
    if block.startswith(("|", "#")):
        return block
    return textwrap.fill(block, WIDTH, break_long_words=False, break_on_hyphens=False)
