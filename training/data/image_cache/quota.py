"""The cache's quota: lock, measure and evict its folders, least recently used (LRU) first.

A cache holds one folder for each size of decoded images and for each backbone's embeddings.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from augrank.errors import DataError
from augrank.files import LOCK, read_json

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
RESERVED_BYTES = GB  # of the disk, for the other files of a run
RESERVED_SHARE = 0.05  # of the disk, if that is less
PIXELS, FEATURES, INDEX, BROKEN = "pixels.u8", "features.f32", "index", "broken.json"
DECODED, EMBEDDINGS = "*px-*", "embeddings-*"  # patterns of folder names
PARTIAL = ".*.part*"  # pattern of the names of unfinished files
Say = Callable[[str], None]


def no_op(_text: str) -> None:
    """Ignore a message."""


def size_text(size_bytes: float, *, up: bool = False) -> str:
    """Format a size, rounded down or up, so that a larger size never looks equal."""
    name, unit = next(
        ((name, unit) for name, unit in (("GB", GB), ("MB", MB)) if size_bytes >= unit / 10),
        ("KB", KB),
    )
    hundredths = (math.ceil if up else math.floor)(size_bytes / unit * 100)
    return f"{hundredths / 100:,.2f} {name}"


def read_metadata(file: Path) -> dict[str, Any]:
    """Read a JSON object of the cache; an empty one if the file is missing or corrupt.

    Corrupt metadata is rebuilt from the images.
    """
    try:
        return read_json(file)
    except DataError:
        return {}


@contextmanager
def cache_disk_errors(folder: Path) -> Iterator[None]:
    """Convert every OSError of the block into a DataError that names the cache's folder.

    Raises:
        DataError: the disk is full, read-only or broken, or ``folder`` is not a folder.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        existing = (path for path in (folder, *folder.parents) if os.path.lexists(path))
        raise DataError(
            f"{next(existing, folder)} is not a folder",
            expected="a folder for decoded images and embeddings",
            remedy="Name a folder with --cache; it is created if missing.",
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written",
            expected="a disk with room for decoded images and embeddings",
            got=error.strerror or str(error),
            remedy="Free space there, or put the cache elsewhere with --cache; the same command "
            "resumes.",
        ) from error


@contextmanager
def lock(folder: Path, say: Say) -> Iterator[None]:
    """Create a folder and lock it for this process; its lock file's time is the last use.

    Args:
        folder: the folder.
        say: receives a message if another process holds the lock.

    Raises:
        DataError: the folder cannot be created or written.
    """
    with cache_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    file_lock = FileLock(folder / LOCK)
    try:
        file_lock.acquire(blocking=False)
    except Timeout:
        say(f"Waiting for another process that is filling {folder}")
        file_lock.acquire()
    try:
        with cache_disk_errors(folder):
            os.utime(folder / LOCK)
        yield
    finally:
        file_lock.release()


def _others_lru_first(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """List the cache's other folders, the least recently used first."""
    last_use: dict[Path, int] = {}
    for pattern in patterns:
        for lock_file in folder.parent.glob(f"{pattern}/{LOCK}"):
            with suppress(FileNotFoundError):
                last_use[lock_file.parent] = lock_file.stat().st_mtime_ns
    last_use.pop(folder, None)
    return sorted(last_use, key=lambda other: last_use[other])


def _files(folder: Path) -> list[Path]:
    # Pixels first: if the index went first, a crash between the two would leave pixels that the
    # next process overwrites while others have them mapped.
    names = PIXELS, FEATURES, INDEX, BROKEN
    return [*(folder / name for name in names), *folder.glob(PARTIAL)]


def _size_bytes(folder: Path) -> int:
    size = 0
    for file in _files(folder):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def evict(folder: Path) -> int:
    """Delete everything in a folder except the lock file, for which others may be waiting.

    Returns:
        Bytes deleted; 0 if another process is filling the folder, or it is another user's.
    """
    size = 0
    with suppress(PermissionError, Timeout), FileLock(folder / LOCK, blocking=False):
        freed = _size_bytes(folder)
        for file in _files(folder):
            file.unlink(missing_ok=True)
        size = freed
    return size


def evict_lru(
    folder: Path,
    own: int,
    limit: float,
    patterns: Sequence[str] = (DECODED, EMBEDDINGS),
    *,
    say: Say = no_op,
) -> int:
    """Evict other folders, the least recently used first, until the cache fits the limit.

    A folder that another process is filling is not evicted, even if the limit is exceeded by it.

    Args:
        folder: the folder to keep.
        own: its future size, in bytes.
        limit: of all folders together, in bytes.
        patterns: of the names of folders that may be evicted.
        say: receives a message for each evicted folder.

    Returns:
        The size of all folders afterwards, in bytes.
    """
    others = _others_lru_first(folder, patterns)
    total = own + sum(map(_size_bytes, others))
    for other in others:
        if total <= limit:
            break
        if freed := evict(other):
            say(f"The cache is full: evicted {other}, {size_text(freed)}, least recently used")
        total -= freed
    return total


def others_bytes(folder: Path, patterns: Sequence[str] = (DECODED, EMBEDDINGS)) -> int:
    """Return the size of the cache's other folders, in bytes."""
    return sum(map(_size_bytes, _others_lru_first(folder, patterns)))


def reserved_bytes(folder: Path) -> int:
    """Return how many bytes of a folder's disk the cache leaves free."""
    return min(RESERVED_BYTES, int(shutil.disk_usage(folder).total * RESERVED_SHARE))


def available_bytes(folder: Path) -> int:
    """Return how many bytes the disk has for the cache; negative if the reserve is in use."""
    return shutil.disk_usage(folder).free - reserved_bytes(folder)
