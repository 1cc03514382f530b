"""What has been measured and spent: one JSON file, so that a second call goes on where one ended.

    {"id": "1f3a9c02", "done": {"training ml.c5.xlarge": {...}}, "failed": {...},
     "running": {"serving ml.c5.xlarge": 1760000000.0}, "spent_usd": 1.23}

``running`` is written before anything is started on AWS: what a crash left is found by it.
"""

import fcntl
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from augrank.errors import BadRequest
from benchmarks.instances.figures import ServingFigures, TrainingFigures

Work = Literal["training", "serving"]
Figures = TrainingFigures | ServingFigures
FIGURES: dict[Work, type[TrainingFigures] | type[ServingFigures]] = {
    "training": TrainingFigures, "serving": ServingFigures,
}  # fmt: skip


@dataclass(frozen=True)
class Ledger:
    """The file."""

    file: Path
    content: dict[str, Any]
    lock: IO[str]  # held as long as the ledger is

    @classmethod
    def open(cls, file: Path, about: Mapping[str, Any]) -> "Ledger":
        """Read it, or begin one.

        Args:
            file: where it is kept.
            about: what is measured; another one's file is refused.

        Raises:
            BadRequest: the file is of something else, or cannot be read.
        """
        plain = json.loads(json.dumps(dict(about)))
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadRequest(
                f"another process measures into {file.parent}",
                remedy="Wait for it, or choose another --out.",
            ) from error
        if not file.exists():
            new = {"id": secrets.token_hex(4), "about": plain, "done": {}, "failed": {},
                   "running": {}, "spent_usd": 0.0}  # fmt: skip
            ledger = cls(file, new, lock)
            ledger._write()
            return ledger
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadRequest(f"{file} cannot be read: {error}") from error
        if content.get("about") != plain:
            raise BadRequest(
                f"{file} is of another benchmark",
                expected=json.dumps(plain),
                got=json.dumps(content.get("about")),
                remedy="Choose another --out.",
            )
        return cls(file, content, lock)

    @property
    def id(self) -> str:
        """Marks what this benchmark makes on AWS."""
        return str(self.content["id"])

    @property
    def spent_usd(self) -> float:
        """So far, by the prices given."""
        return float(self.content["spent_usd"])

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """Why, by work and type."""
        return {_parts(key): why for key, why in self.content["failed"].items()}

    @property
    def running(self) -> list[tuple[str, str]]:
        """Work and type of what was begun and not ended."""
        return [_parts(key) for key in self.content["running"]]

    def figures(self, work: Work, name: str) -> Any:
        """What was measured, or None."""
        found = self.content["done"].get(f"{work} {name}")
        return None if found is None else FIGURES[work](**found)

    def begin(self, work: Work, name: str) -> None:
        """Before anything is started."""
        self.content["running"][f"{work} {name}"] = time.time()
        self._write()

    def end(
        self,
        work: str,
        name: str,
        usd_per_hour: float,
        result: Figures | str | None,
        *,
        hours_at_most: float | None = None,
    ) -> None:
        """After all of it is gone again.

        Args:
            work: training or serving.
            name: of the type.
            usd_per_hour: what it costs.
            result: figures, or why there are none; None where it was interrupted.
            hours_at_most: that it can have run, whenever this is called.
        """
        key = f"{work} {name}"
        begun = self.content["running"].pop(key, None)
        if begun is not None:
            hours = (time.time() - begun) / 3600
            if isinstance(result, TrainingFigures):
                hours = result.hours  # as billed
            elif hours_at_most is not None:
                hours = min(hours, hours_at_most)
            self.content["spent_usd"] += hours * usd_per_hour
        self.content["failed"].pop(key, None)
        if isinstance(result, str):
            self.content["failed"][key] = result
        elif result is not None:
            self.content["done"][key] = vars(result)
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(self.file)


def _parts(key: str) -> tuple[str, str]:
    work, _, name = key.partition(" ")
    return work, name
