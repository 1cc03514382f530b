"""What became of every URL, written down as it happens: a download goes on after any interrupt.

JSON lines, one for each URL that is settled; the last line of a URL counts. An image's file is
whole before its line is written. A line that was torn by a crash is passed over, so its URL is
asked again.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from augrank.errors import DataError

State = Literal["done", "broken", "failed"]


@dataclass(frozen=True, slots=True)
class Record:
    """What became of a URL. ``broken`` is for good, ``failed`` for now."""

    url: str
    state: State
    tries: int  # requests in all, earlier calls included
    reason: str = ""  # why there is no image
    file: str = ""  # relative to the download's folder
    size_bytes: int = 0
    sha256: str = ""  # of the file


class Journal:
    """The records so far, by URL, and a file to which further ones are added."""

    def __init__(self, stream: BinaryIO, records: dict[str, Record]) -> None:
        self._stream = stream
        self.records = records

    def add(self, record: Record) -> None:
        """Note what became of a URL; it outlasts this process."""
        self.records[record.url] = record
        self._stream.write(json.dumps(asdict(record)).encode() + b"\n")
        self._stream.flush()

    def open_urls(self, urls: list[str], folder: Path, *, retry_broken: bool) -> list[str]:
        """Those that are still to be asked: unknown, failed, or of a file that is gone."""

        def is_open(url: str) -> bool:
            record = self.records.get(url)
            if record is None or record.state == "failed":
                return True
            if record.state == "broken":
                return retry_broken
            file = folder / record.file
            return not (file.is_file() and file.stat().st_size == record.size_bytes)

        return [url for url in urls if is_open(url)]


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Read a journal, and hold it for this process alone.

    Raises:
        DataError: another process holds it.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"another process is downloading to {path.parent}",
                remedy="Wait for it, or choose another --out.",
            ) from error
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            stream.write(b"\n")  # ends the torn line, so that the next one is read
            stream.flush()
        yield Journal(stream, _read(content))


def _read(content: bytes) -> dict[str, Record]:
    records = {}
    for line in content.splitlines():
        try:
            record = Record(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if record.state in get_args(State):
            records[record.url] = record
    return records
