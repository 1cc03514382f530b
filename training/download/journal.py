"""The journal of a download: the result of every URL, so that it resumes after any interrupt.

JSON lines, one for each finished URL; the last line of a URL counts. An image's file is complete
before its line is written. A line that a crash truncated is ignored, so its URL is requested again.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from augrank.files import exclusive_lock

State = Literal["done", "broken", "failed"]


@dataclass(frozen=True, slots=True)
class UrlRecord:
    """The result of a URL. ``broken`` is permanent, ``failed`` temporary."""

    url: str
    state: State
    tries: int  # requests in total, earlier calls included
    reason: str = ""  # why there is no image
    file: str = ""  # relative to the download's folder
    size_bytes: int = 0
    sha256: str = ""  # of the file


class Journal:
    """The records of a download, by URL, and the file to which new ones are appended."""

    def __init__(self, stream: BinaryIO, records: dict[str, UrlRecord]) -> None:
        self._stream = stream
        self.records = records

    def add(self, record: UrlRecord) -> None:
        """Append the result of a URL to the file."""
        self.records[record.url] = record
        self._stream.write(json.dumps(asdict(record)).encode() + b"\n")
        self._stream.flush()

    def pending_urls(self, urls: list[str], folder: Path, *, retry_broken: bool) -> list[str]:
        """Return the URLs to request: new ones, failed ones, those whose file is missing."""

        def is_pending(url: str) -> bool:
            record = self.records.get(url)
            if record is None or record.state == "failed":
                return True
            if record.state == "broken":
                return retry_broken
            file = folder / record.file
            return not (file.is_file() and file.stat().st_size == record.size_bytes)

        return [url for url in urls if is_pending(url)]


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Read a journal and lock it for this process.

    Raises:
        DataError: another process holds it.
        OSError: it cannot be written.
    """
    busy = f"another process is downloading to {path.parent}"
    with exclusive_lock(path, busy), path.open("ab") as stream:
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            stream.write(b"\n")  # ends the truncated line, so that the next one is readable
            stream.flush()
        yield Journal(stream, _read(content))


def _read(content: bytes) -> dict[str, UrlRecord]:
    records = {}
    for line in content.splitlines():
        try:
            record = UrlRecord(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if record.state in get_args(State):
            records[record.url] = record
    return records
