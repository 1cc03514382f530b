"""The files of a job: shards in OUT.partial, then OUT and the list of what could not be answered.

Every file is written under another name and then renamed: it is whole, or it is not there.
"""

import csv
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augrank.batch.shard_scorer import SCHEMA
from augrank.contracts.manifest import PATH
from augrank.errors import BadRequest


class Partial:
    """A job's answers so far, in a folder beside its output."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.errors = out.with_name(out.name + ".errors.csv")
        self.folder = out.with_name(out.name + ".partial")

    @contextmanager
    def own(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            BadRequest: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BadRequest(
                    f"another process is writing {self.folder}",
                    remedy="Wait for it, or choose another --out.",
                ) from error
            yield

    def begin(self, fingerprint: str) -> None:
        """Go on with the job of this fingerprint; what is left of another one goes."""
        file = self.folder / "job.json"
        try:
            known = json.loads(file.read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError):
            known = None
        if known == fingerprint:
            return
        for shard in self.folder.glob("*.parquet"):
            shard.unlink()
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
        unfinished.replace(file)

    def has(self, number: int) -> bool:
        """Whether a shard is there."""
        return self._shard(number).exists()

    def write(self, number: int, rows: Sequence[dict[str, Any]]) -> None:
        """Keep a shard's rows."""
        unfinished = self._shard(number).with_suffix(".unfinished")
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), unfinished, compression="zstd")
        unfinished.replace(self._shard(number))

    def finish(self, shards: int) -> tuple[int, int]:
        """Make one file of all shards, list what could not be answered, and remove the folder.

        Returns:
            How many rows have an answer, and how many have not.
        """
        failed = self._list_errors(shards)
        rows = self._merge(shards)
        shutil.rmtree(self.folder)
        return rows - failed, failed

    def _merge(self, shards: int) -> int:
        """All shards as one file, in order; how many rows."""
        unfinished = self.folder / "merged.unfinished"
        rows = 0
        with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
            for number in range(shards):
                table = pq.read_table(self._shard(number), schema=SCHEMA)
                writer.write_table(table)
                rows += len(table)
        unfinished.replace(self.out)
        return rows

    def _list_errors(self, shards: int) -> int:
        """Write what could not be answered as CSV; how many rows."""
        columns = [PATH, "target", "error"]
        found: list[dict[str, Any]] = []
        for number in range(shards):
            table = pq.read_table(self._shard(number), columns=columns)
            found += [row for row in table.to_pylist() if row["error"] is not None]
        if not found:
            self.errors.unlink(missing_ok=True)
            return 0
        unfinished = self.folder / "errors.unfinished"
        with unfinished.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(found)
        unfinished.replace(self.errors)
        return len(found)

    def _shard(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"
