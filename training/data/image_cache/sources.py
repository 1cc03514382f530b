"""Every image file of a manifest: its digest, its decoded pixels, or why it has none."""

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
from training.data.image_cache.file_index import Unreadable
from training.data.image_cache.quota import noted, writing
from training.data.image_cache.store import ImageStore, Pixels


@dataclass(frozen=True)
class DecodedImages:
    """Decoded files, by their number in the manifest."""

    pixels: Pixels  # (N, S, S, 3) RGB; white where the file is broken
    sha256: tuple[str, ...]  # of every file
    broken: dict[int, str]  # why, by number of the file


def decode_all(
    files: Sequence[str],
    images: Path,
    size: int,
    cache: Path,
    *,
    limit_gb: float = math.inf,
    threads: int,
    reporter: Reporter,
    checked: bool = False,
) -> DecodedImages:
    """Decode files on a white square, as far as no earlier call has done so.

    Args:
        files: relative to ``images``.
        images: the folder.
        size: side of the working images, in pixels.
        cache: folder of the store; may be shared by runs.
        limit_gb: that decoded images may take of the cache, those of other runs included.
        threads: files decoded at a time (the decoders let go of the interpreter).
        reporter: shows progress.
        checked: another process of this machine has just decoded them.

    Raises:
        DataError: the disk or the limit does not hold the pixels.
    """
    sources = _Sources(files, images, cache / "digests.json")
    unreadable = sources.look(threads)
    readable = [number for number in range(len(files)) if number not in unreadable]

    def read(place: int) -> tuple[str, bytes]:
        return sources.read(readable[place])

    def decode_content(content: bytes) -> RgbImage:
        return decode(content, size).pixels

    def track(done: Iterable[None], count: int, title: str) -> Iterable[None]:
        return reporter.track(done, title, count, "images")

    store = ImageStore(cache, size, limit_gb, reporter.say)
    with store.held(), sources.remembered() as digest:
        wanted = [digest(number) for number in readable]
        filled = store.fill(
            wanted, read, decode_content, threads=threads, track=track, checked=checked
        )
    slot = np.zeros(len(files), np.int64)  # slot 0 is white
    slot[readable] = filled.pixels.slot
    sha256 = dict(zip(readable, filled.digests, strict=True))
    return DecodedImages(
        Pixels(filled.pixels.slots, slot),
        tuple(sha256.get(number, "") for number in range(len(files))),
        unreadable | {readable[place]: reason for place, reason in filled.why.items()},
    )


def _why(error: OSError) -> str:
    return f"the file cannot be read: {error.strerror or error}"


class _Sources:
    """The files; their digests are remembered by size and time of change.

    Args:
        files: relative to ``images``.
        images: the folder.
        memo: where digests are kept, ``[size, time, sha256]`` by path.
    """

    def __init__(self, files: Sequence[str], images: Path, memo: Path) -> None:
        base = images.resolve()
        self._names, self._memo = [str(base / name) for name in files], memo
        self._stamps: dict[int, list[object]] = {}  # size and time, by number
        self._read: dict[int, list[object]] = {}  # with the digest: what this call has read

    def look(self, threads: int) -> dict[int, str]:
        """Note size and time of every file; why one has none, by its number."""

        def stamp(name: str) -> list[object] | str:
            try:
                return _stamp(Path(name).stat())
            except OSError as error:
                return _why(error)

        with ThreadPoolExecutor(threads) as pool:
            stamps = list(pool.map(stamp, self._names))
        self._stamps = {n: found for n, found in enumerate(stamps) if not isinstance(found, str)}
        return {n: found for n, found in enumerate(stamps) if isinstance(found, str)}

    @contextmanager
    def remembered(self) -> Iterator[Callable[[int], str | None]]:
        """Gives what knows a file's digest, and keeps what is read in this block for other calls.

        The memo forgets files that are no longer there when it is written.
        """
        known = noted(self._memo)

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
                there = {name: known.pop(name) for name in self._names if name in known}
                others = {name: facts for name, facts in known.items() if Path(name).is_file()}
                with writing(self._memo.parent):
                    write_json(self._memo, others | there | read)

    def read(self, number: int) -> tuple[str, bytes]:
        """A file's sha256 and bytes; raises Unreadable."""
        try:
            with Path(self._names[number]).open("rb") as stream:
                stamp = _stamp(os.fstat(stream.fileno()))  # before its bytes: they may change
                content = stream.read()
        except OSError as error:
            raise Unreadable(_why(error)) from error
        digest = hashlib.sha256(content).hexdigest()
        self._read[number] = [*stamp, digest]
        return digest, content


def _stamp(facts: os.stat_result) -> list[object]:
    return [facts.st_size, facts.st_mtime_ns]
