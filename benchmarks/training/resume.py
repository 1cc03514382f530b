"""What a run of the training benchmark has measured, for the next to go on from an interrupt."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from augrank.files import read_json, write_json
from benchmarks.training.measure import Note

Part = TypeVar("Part")


class Parts:
    """A JSON file of parts measured alike; each is measured in turns of its own.

    Args:
        file: of an interrupted run, or none yet.
        question: plain data, what decides the figures: those of another question are dropped.
        note: told what was there already.
    """

    def __init__(self, file: Path, question: Mapping[str, Any], note: Note) -> None:
        self._file, self._question, self._note = file, dict(question), note
        earlier = read_json(file) if file.exists() else {}
        same = earlier.get("question") == self._question
        self._parts: dict[str, Any] = earlier["parts"] if same else {}

    def part(self, name: str, kind: type[Part], measure: Callable[[], Part]) -> Part:
        """What was measured before the interrupt, or is now.

        Args:
            name: of the part.
            kind: its dataclass.
            measure: measures it.
        """
        adapter = TypeAdapter(kind)
        if name in self._parts:
            self._note(f"{name}: was measured before the interrupt")
            return adapter.validate_python(self._parts[name])
        measured = measure()
        self._parts[name] = adapter.dump_python(measured, mode="json")
        write_json(self._file, {"question": self._question, "parts": self._parts})
        return measured

    def finish(self) -> None:
        """The run is whole: the next one measures anew."""
        self._file.unlink(missing_ok=True)
