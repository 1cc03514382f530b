"""Files are written whole, then renamed: a reader never meets half of one."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from augrank.errors import DataError

LOCK = "lock"  # a file's name
TAKES_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    The suffix is kept, since several libraries choose the format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, which is there, for this process until the block ends, or the process.

    Raises:
        DataError: another process holds it.
    """
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"another process is at work in {folder}",
                remedy="Wait for it, or end it, or choose another --out.",
            ) from error
        yield


@contextmanager
def room_in(folder: Path, remedy: str) -> Iterator[None]:
    """Say what to do where a folder's disk takes no more.

    Raises:
        DataError: it is full, or read-only.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in TAKES_NO_MORE:
            raise
        raise DataError(
            f"{folder} cannot be written",
            expected="a disk that takes what a run writes",
            got=error.strerror or str(error),
            remedy=remedy,
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write plain data (numpy numbers are taken too), indented."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    with whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not plain data")
