"""Output of every benchmark: results.json, tables, one line of JSON."""

import json
from pathlib import Path
from typing import Any

from augrank.cli.reporter import RichReporter
from augrank.files import atomic_write
from augrank.reporting import Table
from benchmarks.common.results import Results

QUICK_NOTE = "This was a quick run: for reliable figures, run it without --quick."


def write_results(folder: Path, results: Results) -> None:
    """Write results.json atomically."""
    write_text(folder / "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def print_results(results: dict[str, Any], *tables: Table) -> None:
    """Print tables, then one line of JSON for programs."""
    reporter = RichReporter()
    for table in tables:
        reporter.table(table)
    if results.get("quick"):
        reporter.say(QUICK_NOTE)
    print(json.dumps(results, allow_nan=False))
