"""The files of a scoring job: shards in OUT.partial, then OUT and the list of errors.

Every file is written atomically: a reader never sees a partial file.
"""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augrank.contracts.manifest import PATH
from augrank.errors import BadRequest
from augrank.files import LOCK, atomic_write, exclusive_lock

# The fields of an option. Intervals have a column for each end.
_SCORE = [
    ("probability", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("difference", pa.float64()),
    ("difference_low", pa.float64()),
    ("difference_high", pa.float64()),
    ("lift", pa.float64()),
    ("better", pa.bool_()),
]
_VERDICT = [
    ("kind", pa.string()),  # change, keep or unsure
    ("choice", pa.string()),
    ("sends", pa.int64()),
    ("lift", pa.float64()),
    ("text", pa.string()),
]
SCHEMA = pa.schema(
    [
        ("item", pa.int64()),  # its number in the folder or the manifest
        (PATH, pa.string()),
        ("target", pa.string()),
        ("direction", pa.string()),
        ("context", pa.string()),  # JSON
        ("probability", pa.float64()),
        ("low", pa.float64()),  # of its 90 % interval
        ("high", pa.float64()),
        ("best_candidate", pa.string()),
        ("best_probability", pa.float64()),
        ("candidates", pa.list_(pa.struct([("name", pa.string()), *_SCORE]))),
        ("alternates", pa.list_(pa.struct([("path", pa.string()), *_SCORE]))),
        ("verdict", pa.struct(_VERDICT)),
        ("alternate_verdict", pa.struct(_VERDICT)),
        ("sha256", pa.string()),
        ("bundle_version", pa.string()),
        ("engine", pa.string()),  # the graph and what ran it
        ("error", pa.string()),  # the message, if there is no answer
    ]
)


@dataclass(frozen=True)
class MergedRows:
    """The rows of a finished job."""

    answered: int
    failed: int
    first_error: str | None  # message of the first row without an answer


class Partial:
    """A job's answers so far, in a folder beside its output."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.errors = out.with_name(out.name + ".errors.csv")
        self.folder = out.with_name(out.name + ".partial")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder for this process.

        Raises:
            BadRequest: another process holds it.
        """
        busy = f"another process is writing {self.folder}"
        with exclusive_lock(self.folder / LOCK, busy, error=BadRequest):
            yield

    def begin(self, fingerprint: str) -> None:
        """Resume the job of this fingerprint; delete the shards of any other job."""
        file = self.folder / "job.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError):
            found = None
        if found == fingerprint:
            return
        for shard in self.folder.glob("*.parquet"):
            shard.unlink()
        with atomic_write(file, fsync=False) as temporary:
            temporary.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")

    def has(self, number: int) -> bool:
        """Return whether a shard is finished."""
        return self._shard(number).exists()

    def write(self, number: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write a shard's rows."""
        with atomic_write(self._shard(number), fsync=False) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary, compression="zstd")

    def finish(self, shards: int) -> MergedRows:
        """Merge all shards into one file, list the errors, and remove the folder."""
        errors = self._list_errors(shards)
        rows = self._merge(shards)
        shutil.rmtree(self.folder)
        return MergedRows(rows - len(errors), len(errors), errors[0] if errors else None)

    def _merge(self, shards: int) -> int:
        """Merge all shards, in order, and return the number of rows."""
        unfinished = self.folder / "merged.unfinished"
        rows = 0
        with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
            for number in range(shards):
                table = pq.read_table(self._shard(number), schema=SCHEMA)
                writer.write_table(table)
                rows += len(table)
        unfinished.replace(self.out)
        return rows

    def _list_errors(self, shards: int) -> list[str]:
        """Write the rows without an answer as CSV, and return their messages."""
        columns = [PATH, "target", "error"]
        found: list[dict[str, Any]] = []
        for number in range(shards):
            table = pq.read_table(self._shard(number), columns=columns)
            found += [row for row in table.to_pylist() if row["error"] is not None]
        if not found:
            self.errors.unlink(missing_ok=True)
            return []
        unfinished = self.folder / "errors.unfinished"
        with unfinished.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(found)
        unfinished.replace(self.errors)
        return [row["error"] for row in found]

    def _shard(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"
