"""The folders of a cache, of decoded pictures or embeddings: held, written, measured, emptied."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from augrank.errors import DataError

GB = 1 << 30
KEPT_FREE_BYTES = GB  # of the disk, for what else a run writes
PIXELS, FEATURES, INDEX, BROKEN, LOCK = "pixels.u8", "features.f32", "index", "broken.json", "lock"
DECODED, EMBEDDINGS = "*px-*", "embeddings-*"  # folders
PARTS = ".*.part*"  # names of files that are not yet whole


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
def alone(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a folder for this process; gives False where another one fills it and we do not wait."""
    with (folder / LOCK).open("a") as lock:
        held = True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = False
        yield held


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
    with suppress(PermissionError), alone(folder, wait=False) as held:
        if held:
            freed = _size_bytes(folder)
            for file in _files(folder):
                file.unlink(missing_ok=True)
            size = freed
    return size


def emptied_within(
    folder: Path, own: int, limit: float, patterns: Sequence[str] = (DECODED, EMBEDDINGS)
) -> int:
    """Empty other folders, the least recently used first, until a limit holds.

    A folder that another process fills is left alone, even where the limit is passed by it.

    Args:
        folder: to keep.
        own: bytes that it is to take.
        limit: of all of them, in bytes.
        patterns: of the folders' names.

    Returns:
        What all of them take then, in bytes.
    """
    others = _others(folder, patterns)
    total = own + sum(map(_size_bytes, others))
    for other in others:
        if total <= limit:
            break
        total -= emptied(other)
    return total


def decoded_bytes(folder: Path) -> int:
    """What the other folders of the cache take that hold decoded pictures."""
    return sum(map(_size_bytes, _others(folder, [DECODED])))
