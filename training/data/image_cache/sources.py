"""The image files of a manifest: their digests, and their decoded pixels or errors."""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augrank.files import write_json
from augrank.images.decode import RgbImage, decode
from augrank.reporting import Reporter
from training.data.image_cache.file_index import UnreadableFile
from training.data.image_cache.quota import cache_disk_errors, read_metadata
from training.data.image_cache.reader import FileReader, Item
from training.data.image_cache.store import ImageStore, Pixels


@dataclass(frozen=True)
class DecodedImages:
    """Decoded files, by their number in the manifest."""

    pixels: Pixels  # (N, S, S, 3) RGB; white where the file is broken
    sha256: tuple[str, ...]  # of every file
    broken: dict[int, str]  # errors of files without pixels, by number


@dataclass(frozen=True)
class CacheOptions:
    """Location and quota of the cache of decoded images."""

    folder: Path  # may be shared by runs
    limit_gb: float = math.inf  # the quota, images of other runs included
    checked: bool = False  # another process has just compared the pixels with their checksums


def decode_all(
    files: Sequence[str],
    images: Path,
    size: int,
    cache: CacheOptions,
    *,
    threads: int,
    reporter: Reporter,
) -> DecodedImages:
    """Decode files onto white squares, except those already in the cache.

    Args:
        files: relative to ``images``.
        images: the folder.
        size: side of the working images, in pixels.
        cache: location and quota of the cache.
        threads: files decoded at a time (the decoders release the GIL).
        reporter: shows progress.

    Raises:
        DataError: the pixels do not fit on the disk or in the quota.
    """
    sources = _Sources(files, images, cache.folder / "digests.json")
    unreadable = sources.stat_all(threads)
    readable = [number for number in range(len(files)) if number not in unreadable]

    def read(position: int) -> tuple[str, bytes]:
        return sources.read(readable[position])

    def decode_content(content: bytes) -> RgbImage:
        return decode(content, size).pixels

    def track(items: Iterable[Item], count: int, title: str) -> Iterable[Item]:
        return reporter.track(items, title, count, "images")

    store = ImageStore(cache.folder, size, cache.limit_gb, reporter.say)
    with store.locked(), sources.digest_cache() as digest:
        digests = [digest(number) for number in readable]
        reader = FileReader(read, decode_content, threads, track)
        filled = store.fill(digests, reader, checked=cache.checked)
    slot = np.zeros(len(files), np.int64)  # slot 0 is white
    slot[readable] = filled.pixels.slot
    sha256 = dict(zip(readable, filled.digests, strict=True))
    return DecodedImages(
        Pixels(filled.pixels.slots, slot),
        tuple(sha256.get(number, "") for number in range(len(files))),
        unreadable | {readable[position]: error for position, error in filled.errors.items()},
    )


def _read_error(error: OSError) -> str:
    return f"the file cannot be read: {error.strerror or error}"


class _Sources:
    """The files; their digests are cached by size and modification time.

    Args:
        files: relative to ``images``.
        images: the folder.
        cached: JSON file of digests, ``[size, mtime, sha256]`` by path.
    """

    def __init__(self, files: Sequence[str], images: Path, cached: Path) -> None:
        base = images.resolve()
        self._names, self._cached = [str(base / name) for name in files], cached
        self._stamps: dict[int, list[object]] = {}  # size and mtime, by number
        self._read: dict[int, list[object]] = {}  # size, mtime and digest of files read here

    def stat_all(self, threads: int) -> dict[int, str]:
        """Record size and modification time of every file; return errors by file number."""

        def stamp(name: str) -> list[object] | str:
            try:
                return _stamp(Path(name).stat())
            except OSError as error:
                return _read_error(error)

        with ThreadPoolExecutor(threads) as pool:
            stamps = list(pool.map(stamp, self._names))
        self._stamps = {n: found for n, found in enumerate(stamps) if not isinstance(found, str)}
        return {n: found for n, found in enumerate(stamps) if isinstance(found, str)}

    @contextmanager
    def digest_cache(self) -> Iterator[Callable[[int], str | None]]:
        """Yield a function that returns a file's cached digest; cache those read in this block.

        Files that no longer exist are dropped when the cache is written.
        """
        known = read_metadata(self._cached)

        def digest(number: int) -> str | None:
            found: list[object] | None = known.get(self._names[number])
            if found is None or found[:2] != self._stamps[number]:
                return None
            return str(found[2])

        try:
            yield digest
        finally:  # an interrupt loses nothing that was hashed
            read = {self._names[number]: self._read[number] for number in sorted(self._read)}
            if any(known.get(name) != facts for name, facts in read.items()):
                own = {name: known.pop(name) for name in self._names if name in known}
                others = {name: facts for name, facts in known.items() if Path(name).is_file()}
                with cache_disk_errors(self._cached.parent):
                    write_json(self._cached, others | own | read)

    def read(self, number: int) -> tuple[str, bytes]:
        """Return a file's sha256 and bytes; raises UnreadableFile."""
        try:
            with Path(self._names[number]).open("rb") as stream:
                stamp = _stamp(os.fstat(stream.fileno()))  # before its bytes: they may change
                content = stream.read()
        except OSError as error:
            raise UnreadableFile(_read_error(error)) from error
        digest = hashlib.sha256(content).hexdigest()
        self._read[number] = [*stamp, digest]
        return digest, content


def _stamp(facts: os.stat_result) -> list[object]:
    return [facts.st_size, facts.st_mtime_ns]
