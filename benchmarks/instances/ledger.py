"""Measurements and spending, in one JSON file, so that a second call resumes.

    {"id": "1f3a9c02", "done": {"training ml.c5.xlarge": {...}}, "failed": {...},
     "running": {"serving ml.c5.xlarge": 1760000000.0}, "spent_usd": 1.23}

``running`` is written before a resource is created on AWS, so that a crash leaves a record.
"""

import json
import secrets
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from augrank.errors import BadRequest, reason
from augrank.files import exclusive_lock, write_json
from benchmarks.instances.figures import ServingFigures, TrainingFigures

Work = Literal["training", "serving"]
Figures = TrainingFigures | ServingFigures
FIGURES: dict[Work, type[TrainingFigures] | type[ServingFigures]] = {
    "training": TrainingFigures,
    "serving": ServingFigures,
}


@dataclass(frozen=True)
class Ledger:
    """The file, locked until ``close``."""

    file: Path
    content: dict[str, Any]
    _lock: ExitStack

    @classmethod
    def open(cls, file: Path, about: Mapping[str, Any]) -> "Ledger":
        """Lock and read the file, or create it.

        Args:
            file: the ledger's file.
            about: description of the benchmark; the file of another benchmark is rejected.

        Raises:
            BadRequest: another process holds the file, or it belongs to another benchmark or cannot
                be read.
        """
        plain = json.loads(json.dumps(dict(about)))
        lock = ExitStack()
        busy = f"another process is writing to {file.parent}"
        lock.enter_context(exclusive_lock(file.with_suffix(".lock"), busy, error=BadRequest))
        try:
            return cls(file, _read_or_create(file, plain), lock)
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    @property
    def id(self) -> str:
        """The id in the names of everything that this benchmark creates on AWS."""
        return str(self.content["id"])

    @property
    def spent_usd(self) -> float:
        """The money spent so far, in USD, by the given prices."""
        return float(self.content["spent_usd"])

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """The errors, by work and type."""
        return {_parts(key): why for key, why in self.content["failed"].items()}

    @property
    def running(self) -> list[tuple[str, str]]:
        """Work and type of measurements that have started and not ended."""
        return [_parts(key) for key in self.content["running"]]

    def figures(self, work: Work, name: str) -> Any:
        """Return the figures of a type, or None."""
        found = self.content["done"].get(f"{work} {name}")
        return None if found is None else FIGURES[work](**found)

    def begin(self, work: Work, name: str) -> None:
        """Record that a type is being measured, before anything is started."""
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
        """Record the result and the costs, after everything has been deleted.

        Args:
            work: training or serving.
            name: the type's name.
            usd_per_hour: its price.
            result: figures, or the error; None if it was interrupted.
            hours_at_most: maximum running time, however late this is called.
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
        write_json(self.file, self.content)


def _read_or_create(file: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a ledger of this benchmark.

    Raises:
        BadRequest: the file belongs to another benchmark, or cannot be read.
    """
    if not file.exists():
        new = {
            "id": secrets.token_hex(4),
            "about": about,
            "done": {},
            "failed": {},
            "running": {},
            "spent_usd": 0.0,
        }
        write_json(file, new)
        return new
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(
            f"{file} cannot be read", expected="the ledger of a benchmark", got=reason(error)
        ) from error
    if content.get("about") != about:
        raise BadRequest(
            f"{file} belongs to another benchmark",
            expected=json.dumps(about),
            got=json.dumps(content.get("about")),
            remedy="Choose another --out.",
        )
    return content


def _parts(key: str) -> tuple[str, str]:
    work, _, name = key.partition(" ")
    return work, name
