"""Write files as one tar archive in parts of bounded size."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augrank.files import atomic_write

PART = "kit-{:03}"
SUMS = "SHA256SUMS"


class _Parts(io.RawIOBase):
    """A stream that is written to consecutive files."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._part = bytearray()
        self.sums: dict[str, str] = {}  # SHA-256 by name

    def write(self, data: Any) -> int:
        self._part += data
        while len(self._part) >= self._size:
            self._store(self._size)
        return len(data)

    def finish(self) -> None:
        if self._part:
            self._store(len(self._part))

    def _store(self, size: int) -> None:
        data, name = bytes(self._part[:size]), PART.format(len(self.sums))
        del self._part[:size]
        with atomic_write(self._folder / name) as temporary:
            temporary.write_bytes(data)
        self.sums[name] = hashlib.sha256(data).hexdigest()


def write_parts(files: Mapping[str, Path], folder: Path, part_bytes: int) -> dict[str, str]:
    """Write a tar archive in parts; the same files give the same parts.

    Args:
        files: by their path in the archive.
        folder: of the parts; parts of an earlier kit are deleted.
        part_bytes: size of each but the last.

    Returns:
        The SHA-256 of each part, by its name, in order.
    """
    for old in folder.glob(PART.replace("{:03}", "[0-9]*")):
        old.unlink()
    parts = _Parts(folder, part_bytes)
    with tarfile.open(fileobj=parts, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, file in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = file.stat().st_size, 0o644
            with file.open("rb") as stream:
                archive.addfile(entry, stream)
    parts.finish()
    return parts.sums


def write_sums(sums: Mapping[str, str], folder: Path) -> None:
    """Write checksums as ``sha256sum --check`` reads them."""
    with atomic_write(folder / SUMS) as temporary:
        temporary.write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
