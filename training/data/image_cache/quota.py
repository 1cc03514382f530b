"""The folders of a cache, of decoded images or embeddings: held, written, measured, emptied."""

import fcntl
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from augrank.errors import DataError
from augrank.files import read_json

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
KEPT_FREE_BYTES = GB  # of the disk, for what else a run writes
KEPT_FREE_SHARE = 0.05  # of it, where that is less
PIXELS, FEATURES, INDEX, BROKEN, LOCK = "pixels.u8", "features.f32", "index", "broken.json", "lock"
DECODED, EMBEDDINGS = "*px-*", "embeddings-*"  # folders
PARTS = ".*.part*"  # names of files that are not yet whole
Say = Callable[[str], None]


def unsaid(_text: str) -> None:
    """For callers that tell nobody."""


def size_text(size_bytes: float, *, up: bool = False) -> str:
    """A size in the unit that fits, rounded down or up: what is more never reads as the same."""
    name, unit = next(
        ((name, unit) for name, unit in (("GB", GB), ("MB", MB)) if size_bytes >= unit / 10),
        ("KB", KB),
    )
    hundredths = (math.ceil if up else math.floor)(size_bytes / unit * 100)
    return f"{hundredths / 100:,.2f} {name}"


def noted(file: Path) -> dict[str, Any]:
    """What a cache has noted in JSON; nothing where that is missing or damaged: it is made anew."""
    try:
        return read_json(file)
    except (FileNotFoundError, ValueError):
        return {}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what to do where the disk does not take what is written.

    Raises:
        DataError: the disk is full, read-only or broken, or no folder stands there.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        there = (path for path in (folder, *folder.parents) if os.path.lexists(path))
        raise DataError(
            f"{next(there, folder)} is no folder",
            expected="a folder for decoded images and embeddings",
            remedy="Name a folder with --cache; it is made where it is not there.",
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written",
            expected="a disk that takes decoded images and embeddings",
            got=error.strerror or str(error),
            remedy="Free space there, or put the cache elsewhere with --cache; the same command "
            "goes on with what is missing.",
        ) from error


@contextmanager
def alone(folder: Path, say: Say) -> Iterator[None]:
    """Make a folder and hold it for this process; says so where it waits for another one.

    Raises:
        DataError: the folder cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    with (folder / LOCK).open("a") as lock:
        if not _taken(lock):
            say(f"Waiting for another process, which fills {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with writing(folder):
            os.utime(folder / LOCK)
        yield


def _taken(lock: IO[str]) -> bool:
    """Whether a lock is this process's now; False where it is another one's."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _others(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Other folders of the cache, the least recently used first."""
    used: dict[Path, int] = {}
    for pattern in patterns:
        for lock in folder.parent.glob(f"{pattern}/{LOCK}"):
            with suppress(FileNotFoundError):
                used[lock.parent] = lock.stat().st_mtime_ns
    used.pop(folder, None)
    return sorted(used, key=lambda other: used[other])


def _files(folder: Path) -> list[Path]:
    # The pixels come first: without an index they would be written over, though others read them.
    names = PIXELS, FEATURES, INDEX, BROKEN
    return [*(folder / name for name in names), *folder.glob(PARTS)]


def _size_bytes(folder: Path) -> int:
    """What a folder takes of the disk."""
    size = 0
    for file in _files(folder):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def emptied(folder: Path) -> int:
    """Remove all but the lock, which others may wait for.

    Returns:
        Bytes removed; 0 where another process fills the folder, or it is another user's.
    """
    size = 0
    with suppress(PermissionError), (folder / LOCK).open("a") as lock:
        if _taken(lock):
            freed = _size_bytes(folder)
            for file in _files(folder):
                file.unlink(missing_ok=True)
            size = freed
    return size


def emptied_within(
    folder: Path,
    own: int,
    limit: float,
    patterns: Sequence[str] = (DECODED, EMBEDDINGS),
    *,
    say: Say = unsaid,
) -> int:
    """Empty other folders, the least recently used first, until a limit holds.

    A folder that another process fills is left alone, even where the limit is passed by it.

    Args:
        folder: to keep.
        own: bytes that it is to take.
        limit: of all of them, in bytes.
        patterns: of the folders' names.
        say: told what is removed.

    Returns:
        What all of them take then, in bytes.
    """
    others = _others(folder, patterns)
    total = own + sum(map(_size_bytes, others))
    for other in others:
        if total <= limit:
            break
        if freed := emptied(other):
            say(f"The cache is full: removed {other}, {size_text(freed)}, the longest not used")
        total -= freed
    return total


def others_bytes(folder: Path, patterns: Sequence[str] = (DECODED, EMBEDDINGS)) -> int:
    """What the other folders of the cache take."""
    return sum(map(_size_bytes, _others(folder, patterns)))


def kept_free_bytes(folder: Path) -> int:
    """What a cache leaves of a folder's disk: less of a small disk."""
    return min(KEPT_FREE_BYTES, int(shutil.disk_usage(folder).total * KEPT_FREE_SHARE))


def room_bytes(folder: Path) -> int:
    """What the disk still has for a cache; below 0 where others took what is kept free."""
    return shutil.disk_usage(folder).free - kept_free_bytes(folder)
