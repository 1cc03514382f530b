"""Every picture file of a manifest: its digest, its decoded pixels, or why it has none."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from augrank.decode import Picture, decode
from training.cache_folders import writing
from training.files import read_json, write_json
from training.picture_store import PictureStore, Pixels
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

    Raises:
        DataError: the disk or the limit does not hold the pixels.
    """
    digests = _digests(files, images, cache / "digests.json", threads)

    def decode_file(number: int) -> Picture:
        return decode((images / files[number]).read_bytes(), size).pixels

    def track(done: Iterable[None], count: int) -> Iterable[None]:
        return display.track(done, "Decoding", count, "pictures")

    store = PictureStore(cache, size, limit_gb)
    pixels, broken = store.fill(digests, decode_file, threads=threads, track=track)
    return Pictures(pixels, digests, broken)


def _digests(files: Sequence[str], images: Path, memo: Path, threads: int) -> tuple[str, ...]:
    """sha256 of every file; read again only where size or time of change are others.

    The memo forgets files that are no longer there when it is written.
    """
    known = read_json(memo) if memo.is_file() else {}
    base = images.resolve()

    def digest(name: str) -> tuple[str, list[object]]:
        file = base / name
        facts = file.stat()
        stamp = [facts.st_size, facts.st_mtime_ns]
        found = known.get(str(file))
        if found is not None and found[:2] == stamp:
            return str(file), found
        return str(file), [*stamp, hashlib.sha256(file.read_bytes()).hexdigest()]

    with ThreadPoolExecutor(threads) as pool:
        facts = dict(pool.map(digest, files))
    if any(known.get(name) != found for name, found in facts.items()):
        others = {n: found for n, found in known.items() if n not in facts and Path(n).is_file()}
        with writing(memo.parent):
            write_json(memo, others | facts)
    return tuple(str(facts[str(base / name)][2]) for name in files)
