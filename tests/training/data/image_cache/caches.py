"""Fill a cache of decoded images, and look at what it holds."""

import errno
import math
from pathlib import Path

import numpy as np

from augrank.images.decode import decode
from augrank.reporting import NullReporter
from training.data.image_cache.quota import GB
from training.data.image_cache.records import RECORD
from training.data.image_cache.sources import CacheOptions, decode_all

QUIET = NullReporter()
SLOT_BYTES = 32 * 32 * 3 + RECORD.size


class Bars(NullReporter):
    """Record the title, total and progress of each bar."""

    def __init__(self) -> None:
        self.seen: list[list] = []

    def track(self, items, title, total, unit):
        bar = [title, total, 0]
        self.seen.append(bar)
        for item in super().track(items, title, total, unit):
            yield item
            bar[2] += 1


def names(count: int) -> list[str]:
    return [f"images/{number:03d}.png" for number in range(count)]


def load(
    folder: Path, cache: Path, count: int = 6, size: int = 32, *, first: int = 0, slots=math.inf
):
    """Decode images [first, count) into a cache of at most ``slots`` slots of 32 pixels."""
    return decode_all(
        names(count)[first:], folder, size, CacheOptions(cache, slots * SLOT_BYTES / GB),
        threads=2, reporter=QUIET,
    )  # fmt: skip


def the_store(cache: Path, size: int = 32) -> Path:
    (store,) = cache.glob(f"{size}px-*")
    return store


def records(cache: Path) -> list[str]:
    """Return the digests in the index, in order."""
    content = (the_store(cache) / "index").read_bytes()
    whole = len(content) - len(content) % RECORD.size
    return [digest.hex() for digest, _, _ in RECORD.iter_unpack(content[:whole])]


def assert_right(made, folder: Path, files: list[str]) -> None:
    for number, name in enumerate(files):
        want = decode((folder / name).read_bytes(), 32).pixels
        np.testing.assert_array_equal(made.pixels[number], want)


def full(*_arguments):
    raise OSError(errno.ENOSPC, "No space left on device")
