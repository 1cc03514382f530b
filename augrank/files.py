"""Atomic writes, exclusive locks and disk errors.

A file is written under a temporary name, then renamed: a reader never sees a partial file.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from augrank.errors import AugrankError, DataError

LOCK = "lock"  # name of a folder's lock file
LEAST_FREE_BYTES = 1024**2  # for output
LONGEST_SUFFIX = ".1234567890.partial"  # of a temporary name
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def atomic_write(path: Path, *, fsync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block succeeds.

    The suffix is kept, because several libraries derive the format from it.

    Args:
        path: the file to write. Its folder is created.
        fsync: wait until the file is on the disk, which takes about 5 ms. Without it, a power
            failure may leave a truncated file: acceptable for thousands of files whose reader
            checks their size.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        if fsync:
            _fsync(temporary)
        temporary.replace(path)
        if fsync:
            with suppress(OSError):  # some network file systems cannot fsync a folder
                _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_lock(
    file: Path, busy: str, *, error: type[AugrankError] = DataError
) -> Iterator[None]:
    """Hold a lock file until the block or the process ends. Its folder is created.

    Args:
        file: the lock file. It stays in place, empty, after the lock is released.
        busy: the message if another process holds the lock.
        error: the class of that error.

    Raises:
        AugrankError: another process holds the lock.
    """
    from filelock import FileLock, Timeout  # not installed in a model server

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout as held:
        raise error(busy, remedy="Wait for it, or stop it, or choose another --out.") from held
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors(folder: Path, remedy: str) -> Iterator[None]:
    """Convert errors of a full or read-only disk, or of an unusable folder, into a DataError.

    Args:
        folder: the folder that the block writes to.
        remedy: the last sentence of the message.

    Raises:
        DataError: ``folder`` cannot be created or written, or its disk is full.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, str) else None
        inside = named is not None and _same_branch(Path(named).absolute(), folder.absolute())
        if not inside and error.errno not in DISK_IS_FULL:
            raise
        raise DataError(
            f"{error.filename2 or (folder if inside else named or folder)} cannot be written",
            expected="a folder that can be written, on a disk with free space",
            got=error.strerror or str(error),
            remedy=remedy,
        ) from error


def _same_branch(one: Path, other: Path) -> bool:
    """Return whether one path is an ancestor of the other."""
    return one.is_relative_to(other) or other.is_relative_to(one)


def write_json(path: Path, content: Any) -> None:
    """Write plain data as indented JSON; numpy values and paths are converted."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        remedy: the last sentence of the message if it cannot be read.

    Raises:
        DataError: it cannot be read, or is no JSON object.
    """
    try:
        content: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")).items())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read", got=error.strerror or str(error), remedy=remedy
        ) from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is damaged", expected="a JSON object", got=str(error), remedy=remedy
        ) from error
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not plain data")


def check_output_file(file: Path, option: str = "--out") -> None:
    """Check that a file can be written, before the work whose result it is to hold.

    Args:
        file: it need not exist, nor its folders.
        option: that gave it, for the message.

    Raises:
        DataError: it is a folder, cannot be written, or its disk is full.
    """
    with _unusable(file, option):
        if file.is_dir():
            raise DataError(f"{option} {file} is a folder", expected="a file")
        _check_link(file, option)
        if file.exists() and not file.is_file():  # a device, which a rename would replace
            raise DataError(f"{option} {file} is not a file", expected="a file")
        if file.exists():
            _check_access(file, file, option)
        file.with_name(file.name + LONGEST_SUFFIX).exists()  # raises if that is too long
        _check_writable(file.parent, option)  # the file is renamed into its place


def check_output_folder(folder: Path, option: str = "--out") -> None:
    """Check that files can be written to a folder, before the work whose results they are to hold.

    Args:
        folder: it need not exist.
        option: that gave it, for the message.

    Raises:
        DataError: it is a file, cannot be written to, or its disk is full.
    """
    with _unusable(folder, option):
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{option} {folder} is a file", expected="a folder")
        _check_link(folder, option)
        _check_writable(folder, option)


@contextmanager
def _unusable(path: Path, option: str) -> Iterator[None]:
    """Convert the errors of asking about a path, such as one that is too long."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{option} {str(path)[:80]} cannot be used", got=error.strerror or str(error)
        ) from error


def _check_link(path: Path, option: str) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"{option} {path} is a link to {path.readlink()}, which does not exist",
            remedy=f"Give another {option}.",
        )


def _check_writable(folder: Path, option: str) -> None:
    """Check that a folder can be written to, or be made."""
    parent = folder.absolute()
    while not parent.exists() and parent != parent.parent:
        _check_link(parent, option)
        parent = parent.parent
    if not parent.is_dir():
        raise DataError(
            f"{option} {folder} cannot be written: {parent} is a file", expected="a folder"
        )
    _check_access(parent, folder, option)
    usage = shutil.disk_usage(parent)
    if usage.total and usage.free < LEAST_FREE_BYTES:
        raise DataError(
            f"{option} {folder} cannot be written: the disk is full",
            remedy=f"Free space there, or give another {option}.",
        )


def _check_access(existing: Path, path: Path, option: str) -> None:
    if not os.access(existing, os.W_OK):
        raise DataError(
            f"{option} {path} cannot be written",
            expected=f"write access to {existing}",
            remedy=f"Give another {option}.",
        )
