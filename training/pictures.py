"""Every picture file of a manifest: its digest, its decoded pixels, or why it has none."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augrank.decode import Picture, decode
from training.cache_folders import writing
from training.files import read_json, write_json
from training.picture_store import PictureStore, Pixels, Unreadable
from training.progress import Display


@dataclass(frozen=True)
class Pictures:
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
    display: Display,
    checked: bool = False,
) -> Pictures:
    """Decode files on a white square, as far as no earlier call has done so.

    Args:
        files: relative to ``images``.
        images: the folder.
        size: side of the working pictures, in pixels.
        cache: folder of the store; may be shared by runs.
        limit_gb: that decoded pictures may take of the cache, those of other runs included.
        threads: files decoded at a time (the decoders let go of the interpreter).
        display: shows progress.
        checked: another process of this machine has just decoded them.

    Raises:
        DataError: the disk or the limit does not hold the pixels.
    """
    digests, unreadable = _digests(files, images, cache / "digests.json", threads)
    readable = [number for number in range(len(files)) if number not in unreadable]

    def decode_file(place: int) -> Picture:
        number = readable[place]
        try:
            content = (images / files[number]).read_bytes()
        except OSError as error:
            raise Unreadable(_why(error)) from error
        if hashlib.sha256(content).hexdigest() != digests[number]:
            raise Unreadable("the file was written while it was read")
        return decode(content, size).pixels

    def track(done: Iterable[None], count: int) -> Iterable[None]:
        return display.track(done, "Decoding", count, "pictures")

    store = PictureStore(cache, size, limit_gb, display.say)
    wanted = [digests[number] for number in readable]
    pixels, broken = store.fill(wanted, decode_file, threads=threads, track=track, checked=checked)
    slot = np.zeros(len(files), np.int64)  # slot 0 is white
    slot[readable] = pixels.slot
    why = unreadable | {readable[place]: reason for place, reason in broken.items()}
    return Pictures(Pixels(pixels.slots, slot), digests, why)


def _why(error: OSError) -> str:
    return f"the file cannot be read: {error.strerror or error}"


def _digests(
    files: Sequence[str], images: Path, memo: Path, threads: int
) -> tuple[tuple[str, ...], dict[int, str]]:
    """sha256 of every file; read again only where size or time of change are others.

    The memo forgets files that are no longer there when it is written.

    Returns:
        The digests, and why a file has none, by its number.
    """
    known = read_json(memo) if memo.is_file() else {}
    base = images.resolve()

    def digest(name: str) -> list[object] | str:
        file = base / name
        try:
            facts = file.stat()
            stamp = [facts.st_size, facts.st_mtime_ns]
            found: list[object] | None = known.get(str(file))
            if found is not None and found[:2] == stamp:
                return found
            return [*stamp, hashlib.sha256(file.read_bytes()).hexdigest()]
        except OSError as error:
            return _why(error)

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(digest, files))
    unreadable = {n: result for n, result in enumerate(results) if isinstance(result, str)}
    facts = {
        str(base / name): result
        for name, result in zip(files, results, strict=True)
        if not isinstance(result, str)
    }
    if any(known.get(name) != found for name, found in facts.items()):
        others = {n: found for n, found in known.items() if n not in facts and Path(n).is_file()}
        with writing(memo.parent):
            write_json(memo, others | facts)
    digests = ("" if isinstance(result, str) else str(result[2]) for result in results)
    return tuple(digests), unreadable
