"""The folders of a cache, of decoded pictures or embeddings: held, written, measured, emptied."""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from augrank.errors import DataError

GB = 1 << 30
KEPT_FREE_BYTES = GB  # of the disk, for what else a run writes
PIXELS, FEATURES, INDEX, BROKEN, LOCK = "pixels.u8", "features.f32", "index", "broken.json", "lock"
DECODED, EMBEDDINGS = "*px-*", "embeddings-*"  # folders
PARTS = ".*.part*"  # names of files that are not yet whole
Say = Callable[[str], None]


def unsaid(_text: str) -> None:
    """For callers that tell nobody."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say what to do where the disk does not take what is written.

    Raises:
        DataError: the disk is full, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written",
            expected="a disk that takes decoded pictures and embeddings",
            got=error.strerror or str(error),
            remedy="Free space there, or put the cache elsewhere with --cache; the same command "
            "goes on with what is missing.",
        ) from error


@contextmanager
def alone(folder: Path, say: Say) -> Iterator[None]:
    """Hold a folder for this process; says so where it waits for another one that fills it."""
    with (folder / LOCK).open("a") as lock:
        if not _taken(lock):
            say(f"Waiting for another process, which fills {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
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
            say(f"The cache is full: removed {other}, {freed / GB:,.2f} GB, the longest not used")
        total -= freed
    return total


def decoded_bytes(folder: Path) -> int:
    """What the other folders of the cache take that hold decoded pictures."""
    return sum(map(_size_bytes, _others(folder, [DECODED])))
