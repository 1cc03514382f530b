"""The figures of finished histories, so that the next run resumes after them."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from augrank.bundle.load import library_versions
from augrank.files import atomic_write
from benchmarks.trust.measure import HistoryFigures
from benchmarks.trust.worlds import World

ROOT = Path(__file__).parents[2]
# The code that the figures depend on: folders and files.
SOURCES = (
    "augrank/models",
    "augrank/trust",
    "training/heads",
    "training/heads/posterior",
    "training/common/metrics.py",
    "training/backbone/embed.py",
    "training/data/splits.py",
    "simulation/engagement.py",
    "benchmarks/trust",
)
REPORTING = (
    "document.py",
    "real.py",
    "report.py",
    "run.py",
    "store.py",
    "targets.py",
)  # of benchmarks/trust
_HISTORY = TypeAdapter(HistoryFigures)


class HistoryStore:
    """A file for each world, with a line for each finished history.

    Args:
        folder: of the files.
        conditions: plain data that the figures depend on; those of others are dropped.
    """

    def __init__(self, folder: Path, conditions: dict[str, Any]) -> None:
        self._folder, self._conditions = folder, conditions

    def open(self, world: World) -> dict[int, HistoryFigures]:
        """Return a world's finished histories, by seed, and prepare its file for more."""
        lines = self._complete_lines(world)
        first = self._first_line(world)
        kept = lines[1:] if lines[:1] == [first] else []
        with atomic_write(self._file(world)) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in [first, *kept]), "utf-8")
        histories = [_HISTORY.validate_json(line) for line in kept]
        return {history.seed: history for history in histories}

    def add(self, world: World, history: HistoryFigures) -> None:
        """Append a finished history."""
        with self._file(world).open("a", encoding="utf-8") as stream:
            stream.write(_HISTORY.dump_json(history).decode() + "\n")

    def _file(self, world: World) -> Path:
        return self._folder / f"{world.name}.jsonl"

    def _first_line(self, world: World) -> str:
        return json.dumps({**self._conditions, "world": asdict(world)}, sort_keys=True)

    def _complete_lines(self, world: World) -> list[str]:
        """Return the lines of a world's file; the last is left out if its end is missing."""
        file = self._file(world)
        return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []


def conditions() -> dict[str, Any]:
    """Return the conditions that figures depend on: the code and the versions of libraries."""
    digest = hashlib.sha256()
    for source in map(ROOT.joinpath, SOURCES):
        for file in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            if source.name != "trust" or file.name not in REPORTING:
                digest.update(file.read_bytes())
    return {"sources": digest.hexdigest(), "libraries": library_versions()}
