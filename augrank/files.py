"""Files are written whole, then renamed: a reader never meets half of one."""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from augrank.errors import DataError

LOCK = "lock"  # a file's name
TAKES_NO_MORE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def whole(path: Path, *, quick: bool = False) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    The suffix is kept, since several libraries choose the format by it.

    Args:
        path: of the file.
        quick: do not wait until the disk has it, some 5 ms, so that a power cut may leave a part:
            for files by the thousand, whose size their reader checks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        if not quick:
            _settle(temporary)
        temporary.replace(path)
        if not quick:
            with suppress(OSError):  # some network disks cannot do that with a folder
                _settle(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Wait until the disk has a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it for this process until the block ends, or the process.

    Raises:
        DataError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
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
    """Say what to do where a folder cannot be made, or its disk takes no more.

    Raises:
        DataError: that is so.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else None
        own = named is not None and _on_one_way(Path(named).absolute(), folder.absolute())
        if not own and error.errno not in TAKES_NO_MORE:
            raise
        raise DataError(
            f"{error.filename2 or (folder if own else named or folder)} cannot be written",
            expected="a place where files can be made, with room on its disk",
            got=error.strerror or str(error),
            remedy=remedy,
        ) from error


def _on_one_way(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


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
