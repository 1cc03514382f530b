"""Every picture file decoded once, into one array that lies in the run's cache."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from augrank.decode import DECODE_VERSION, WHITE, decode
from augrank.errors import AugrankError
from training.files import read_json, whole, write_json
from training.progress import Display

IN_MEMORY_BYTES = 1 << 30  # larger arrays stay on disk, memory-mapped


@dataclass(frozen=True)
class Pictures:
    """Decoded files, by their number in the manifest."""

    pixels: NDArray[np.uint8]  # (N, S, S, 3) RGB; white where the file is broken
    sha256: tuple[str, ...]  # of every file
    broken: dict[int, str]  # why, by number of the file


def decode_all(
    files: Sequence[str], images: Path, size: int, cache: Path, *, threads: int, display: Display
) -> Pictures:
    """Decode files on a white square, or load what an earlier run with the same files left.

    Args:
        files: relative to ``images``.
        images: the folder.
        size: side of the working pictures, in pixels.
        cache: folder for the array; keyed by the files' bytes, size and decoder versions.
        threads: files decoded at a time (the decoders let go of the interpreter).
        display: shows progress.
    """
    with ThreadPoolExecutor(threads) as pool:
        digests = tuple(pool.map(lambda name: _sha256(images / name), files))
    key = _key(digests, size)
    array_file, facts_file = cache / f"pictures-{key}.npy", cache / f"pictures-{key}.json"
    if not (array_file.is_file() and facts_file.is_file()):
        broken = _decode_to(array_file, files, images, size, threads, display)
        write_json(facts_file, {"broken": {str(number): why for number, why in broken.items()}})
    bytes_there = array_file.stat().st_size
    pixels = np.load(
        array_file, mmap_mode="r" if bytes_there > IN_MEMORY_BYTES else None, allow_pickle=False
    )
    broken = {int(number): why for number, why in read_json(facts_file)["broken"].items()}
    return Pictures(pixels, digests, broken)


def _decode_to(
    array_file: Path, files: Sequence[str], images: Path, size: int, threads: int, display: Display
) -> dict[int, str]:
    broken: dict[int, str] = {}
    with whole(array_file) as temporary, ThreadPoolExecutor(threads) as pool:
        pixels = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.uint8, shape=(len(files), size, size, 3)
        )

        def decode_one(number: int) -> None:
            try:
                pixels[number] = decode((images / files[number]).read_bytes(), size).pixels
            except AugrankError as error:
                pixels[number] = WHITE
                broken[number] = str(error)

        done = pool.map(decode_one, range(len(files)))
        for _ in display.track(done, "Decoding", len(files), "pictures"):
            pass
        pixels.flush()
    return dict(sorted(broken.items()))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _key(digests: Sequence[str], size: int) -> str:
    versions = f"{size} decode {DECODE_VERSION} cv2 {cv2.__version__} pillow {PIL.__version__}\n"
    return hashlib.sha256((versions + "\n".join(digests)).encode()).hexdigest()[:16]
