"""Results of an interrupted run, so that the next run resumes after the last part measured."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from augrank.files import read_json, write_json
from augrank.reporting import Reporter

Measurement = TypeVar("Measurement")
ROOT = Path(__file__).parents[2]


def with_sources(conditions: Mapping[str, Any], folders: Sequence[str]) -> dict[str, Any]:
    """Return conditions, and when the code in some folders last changed, as JSON reads them.

    Args:
        conditions: what figures depend on.
        folders: of the repository.
    """
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    changed = max(file.stat().st_mtime for file in files)
    plain: dict[str, Any] = json.loads(json.dumps({**conditions, "sources": changed}))
    return plain


class PartialResults:
    """A JSON file of the parts measured so far; each part is measured separately.

    Args:
        file: written by an interrupted run; may not exist.
        conditions: plain data that the figures depend on; parts measured under others are dropped.
        reporter: prints which parts are taken from the file.
    """

    def __init__(self, file: Path, conditions: Mapping[str, Any], reporter: Reporter) -> None:
        self._file, self._conditions, self._reporter = file, dict(conditions), reporter
        earlier = read_json(file, "Remove it, or give another --out.") if file.exists() else {}
        same = earlier.get("conditions") == self._conditions
        self._parts: dict[str, Any] = earlier["parts"] if same else {}

    def get_or_measure(
        self, name: str, kind: type[Measurement], measure: Callable[[], Measurement]
    ) -> Measurement:
        """Return the part measured before the interrupt, or measure it now.

        Args:
            name: the part's.
            kind: its dataclass.
            measure: measures it.
        """
        adapter = TypeAdapter(kind)
        if name in self._parts:
            self._reporter.say(f"{name}: already measured before the interrupt")
            return adapter.validate_python(self._parts[name])
        measured = measure()
        self._parts[name] = adapter.dump_python(measured, mode="json")
        write_json(self._file, {"conditions": self._conditions, "parts": self._parts})
        return measured

    def delete(self) -> None:
        """Delete the file of a finished run, so that the next run measures everything."""
        self._file.unlink(missing_ok=True)
