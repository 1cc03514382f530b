"""Figures as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]  # the contents of a results.json


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(figure: Mapping[str, float], digits: int = 2) -> str:
    """``12.30 (12.10 to 12.60)``."""
    return (
        f"{figure['median']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"
    )


def verdict(target: Mapping[str, Any], figure: Mapping[str, float]) -> list[str]:
    """A row: title, figure, bound, aim, and whether it is met; a miss says by how much."""
    less, bound, aim = target["less_is_better"], target["bound"], target["aim"]
    sign, end = ("≤ ", figure["high"]) if less else ("", figure["low"])
    good, reached = (end <= bound, end <= aim) if less else (end >= bound, end >= aim)
    digits = 4 if bound < 0.1 else 3
    measured = f"{figure['median']:.{digits}f}"
    if figure["low"] != figure["high"]:
        measured = shown(figure, digits)
    verdict = "aim reached" if reached else "met"
    if not good:
        away = (end - bound) / bound if less else (bound - end) / bound
        verdict = f"missed by {away:.0%}. {target['tried']}".strip()
    return [target["title"], measured, f"{sign}{bound:g}", f"{sign}{aim:g}", verdict]


def typed_as(result: Result) -> str:
    """How a section's results are made again."""
    return f"Command: `{result['command']}`."
