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

from augrank.batch.job import REVIEW_KIND
from augrank.contracts.manifest import PATH
from augrank.errors import BadRequest
from augrank.files import LOCK, atomic_write, exclusive_lock

LISTED = (PATH, "target", REVIEW_KIND, "error")  # columns of the list of errors


@dataclass(frozen=True)
class MergedRows:
    """The rows of a finished job."""

    answered: int
    failed: int
    first_error: str | None  # message of the first row without an answer


def parquet_file(rows: Sequence[dict[str, Any]], columns: pa.Schema) -> bytes:
    """Return rows as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, columns), sink, compression="zstd")
    return bytes(sink.getvalue())


class Partial:
    """A job's answers so far, in a folder beside its output.

    Args:
        out: the output.
        columns: of the rows; ``item``, ``error`` and the path among them.
    """

    def __init__(self, out: Path, columns: pa.Schema) -> None:
        self.out, self._columns = out, columns
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

    def write(self, number: int, content: bytes) -> None:
        """Write a shard's Parquet file."""
        with atomic_write(self._shard(number), fsync=False) as temporary:
            temporary.write_bytes(content)

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
        with pq.ParquetWriter(unfinished, self._columns, compression="zstd") as writer:
            for number in range(shards):
                table = pq.read_table(self._shard(number), schema=self._columns)
                writer.write_table(table)
                rows += len(table)
        unfinished.replace(self.out)
        return rows

    def _list_errors(self, shards: int) -> list[str]:
        """Write the rows without an answer as CSV, and return their messages."""
        columns = [name for name in LISTED if name in self._columns.names]
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
