"""Keep image files by content: those that were sent last, and all that people corrected.

An advertiser who sends very many makes room with their own files, not with those of others who have
fewer. Files that several have sent, or of which it is not known, are in a share of their own.

FOLDER/images/seen/ab/abcd...     bounded: the least recently used ones go
FOLDER/images/kept/ab/abcd...     corrected: a model learns from them, so they stay
"""

import logging
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from service.shares import over_share

log = logging.getLogger("augrank.service")
SPARE = 0.1  # share of the limit that is freed at once
# Returns which advertiser has sent files, by sha256; without those that several have sent.
Senders = Callable[[Sequence[str]], Mapping[str, str]]


class ImageStore:
    """Files by sha256. Thread-safe, also for several processes with one folder.

    Args:
        folder: for the files.
        limit_bytes: of the files that nobody corrected.
        senders: tells who has sent them; None: nobody knows.
    """

    def __init__(self, folder: Path, limit_bytes: int, senders: Senders | None = None) -> None:
        self._seen, self._kept = folder / "images/seen", folder / "images/kept"
        self._limit, self._senders, self._lock = limit_bytes, senders, threading.Lock()
        self._bytes: int | None = None  # of seen files; None: not counted yet

    def add(self, sha256: str, data: bytes) -> None:
        """Keep a file as long as there is room; an answer needs none, so none is no error."""
        path = self._path(self._seen, sha256)
        if self._used(path) or self._path(self._kept, sha256).exists():
            return
        try:
            _write(path, data)
        except OSError:
            log.exception("an image file could not be kept")
            return
        self._added(len(data))

    def keep(self, sha256: str) -> bool:
        """Keep a file for good; return whether it is there, and on the disk."""
        source, kept = self._path(self._seen, sha256), self._path(self._kept, sha256)
        if kept.exists():
            return True
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            _fsync(source)
            _link(source, kept)
            _fsync(kept.parent)
        except FileNotFoundError:
            return False
        except OSError:
            log.exception("an image file could not be kept for good")
            return False
        return True

    def path(self, sha256: str) -> Path | None:
        """Return where a file is, None if it is not kept any more."""
        for folder in (self._kept, self._seen):
            path = self._path(folder, sha256)
            if path.exists():
                return path
        return None

    def read(self, sha256: str) -> bytes | None:
        """Return a file's bytes, None if it is not kept any more."""
        for folder in (self._kept, self._seen):
            path = self._path(folder, sha256)
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            self._used(path)
            return data
        return None

    @staticmethod
    def _used(path: Path) -> bool:
        """Note that a file was used now; return whether it is there."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    @staticmethod
    def _path(folder: Path, sha256: str) -> Path:
        return folder / sha256[:2] / sha256

    def _added(self, size: int) -> None:
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, _, size in self._files())
            else:
                self._bytes += size
            if self._bytes > self._limit:
                self._trim()

    def _files(self) -> list[tuple[float, str, int]]:
        """Return when each file was used last, its path, and its size, the oldest first."""
        found = []
        for folder in os.scandir(self._seen) if self._seen.exists() else ():
            for file in os.scandir(folder.path):
                if file.name.startswith("."):
                    continue  # being written
                with suppress(FileNotFoundError):  # another process removes files, too
                    status = file.stat()
                    found.append((status.st_mtime, file.path, status.st_size))
        return sorted(found)

    def _trim(self) -> None:
        """Remove the files that were used longest ago, of those who have most."""
        found = self._files()
        names = [Path(path).name for _, path, _ in found]
        sender_of = self._senders(names) if self._senders is not None else {}
        owners = [sender_of.get(name, "") for name in names]
        held: Counter[str] = Counter()
        for owner, (_, _, size) in zip(owners, found, strict=True):
            held[owner] += size
        surplus = over_share(held, int(self._limit * (1 - SPARE)))
        left = held.total()
        for owner, (_, path, size) in zip(owners, found, strict=True):
            if surplus.get(owner, 0) > 0:
                Path(path).unlink(missing_ok=True)
                surplus[owner] -= size
                left -= size
        self._bytes = left


def _write(path: Path, data: bytes) -> None:
    """Write a file that is whole as soon as it is there."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # threads do it at once
    try:
        try:
            partial.write_bytes(data)
        except FileNotFoundError:  # the first one of its folder
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _link(source: Path, kept: Path) -> None:
    """Give a file a second name, or copy it where the disk knows no links."""
    try:
        os.link(source, kept)
    except FileExistsError:
        return
    except FileNotFoundError:
        raise
    except OSError:
        copy = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}.part")
        try:
            shutil.copyfile(source, copy)
            _fsync(copy)
            copy.replace(kept)
        finally:
            copy.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
