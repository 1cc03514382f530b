"""Interrupted and killed processes leave complete images; nothing is decoded twice."""

import hashlib
import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from augrank.files import read_json
from augrank.images.decode import decode
from tests.support.patience import PATIENCE_S
from tests.training.data.image_cache.caches import (
    QUIET,
    assert_right,
    load,
    names,
    records,
    the_store,
)
from training.data.image_cache import records as records_module
from training.data.image_cache import sources as images
from training.data.image_cache.records import RECORD
from training.data.image_cache.sources import CacheOptions, decode_all


def test_an_interrupt_keeps_digests_and_notes_of_broken_files(
    folder, tmp_path, monkeypatch, decoded, opened
):
    cache, noted = tmp_path / "cache", images.decode
    (folder / names(1)[0]).write_bytes(b"no image")

    def interrupted(data: bytes, size: int):
        if len(decoded) == 4:
            raise KeyboardInterrupt
        return noted(data, size)

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decode_all(names(6), folder, 32, CacheOptions(cache), threads=1, reporter=QUIET)
    known = {Path(name).name: facts[2] for name, facts in read_json(cache / "digests.json").items()}
    assert set(known) == set(opened) >= {f"{n:03d}.png" for n in range(5)}
    for name, digest in known.items():
        assert digest == hashlib.sha256((folder / "images" / name).read_bytes()).hexdigest()
    assert list(read_json(the_store(cache) / "broken.json")) == [known["000.png"]]
    decoded.clear()
    made = load(folder, cache)
    assert len(decoded) == 2  # not the broken one, nor the three that are stored
    assert list(made.broken) == [0]


def test_an_interrupt_loses_nothing_that_was_decoded(folder, tmp_path, monkeypatch, decoded):
    cache, noted = tmp_path / "cache", images.decode

    def interrupted(data: bytes, size: int):
        if len(decoded) == 4:
            raise KeyboardInterrupt
        return noted(data, size)

    monkeypatch.setattr(images, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode_all(names(6), folder, 32, CacheOptions(cache), threads=1, reporter=QUIET)
    index = the_store(cache) / "index"
    kept = index.stat().st_size // RECORD.size
    assert kept == 4
    with index.open("ab") as stream:
        stream.write(b"half a record")
    monkeypatch.setattr(images, "decode", noted)
    decoded.clear()
    made = load(folder, cache)
    assert len(decoded) == 2
    assert index.stat().st_size == 6 * RECORD.size
    for number, name in enumerate(names(6)):
        want = decode((folder / name).read_bytes(), 32).pixels
        np.testing.assert_array_equal(made.pixels[number], want)


def fill_slowly(folder: Path, cache: Path, count: int, seen: int, most: int | None = None) -> int:
    """Fork a process that fills the cache and writes decoded digests to ``seen``; return its id.

    It decodes ``most`` images, if that is given, and then waits to be killed.
    """
    if (process := os.fork()) > 0:
        return process
    try:
        left = itertools.count(count if most is None else most, -1)

        def slow(data: bytes, size: int):
            if next(left) <= 0:
                signal.pause()
            os.write(seen, hashlib.sha256(data).digest())
            time.sleep(0.002)
            return decode(data, size)

        images.decode = slow  # in this process alone
        load(folder, cache, count)
    finally:
        os._exit(0)


def fill_and_kill(folder: Path, cache: Path, count: int) -> list[int]:
    """Kill ten processes, each while it decodes; return the signals that ended them."""
    draw, signals = random.Random(0), []
    for _ in range(10):
        reading, seen = os.pipe()
        before_kill = draw.randint(1, 10)
        process = fill_slowly(folder, cache, count, seen, most=before_kill + 3)
        os.close(seen)
        for _ in range(before_kill):
            os.read(reading, 32)
        time.sleep(draw.uniform(0, 0.002))
        os.kill(process, signal.SIGKILL)
        signals.append(os.WTERMSIG(os.waitpid(process, 0)[1]))
        os.close(reading)
    return signals


def fill_twice(folder: Path, cache: Path, count: int) -> list[str]:
    """Fill the cache from two processes at once; return the digests they decode, in order."""
    reading, seen = os.pipe()
    processes = [fill_slowly(folder, cache, count, seen) for _ in range(2)]
    for process in processes:
        os.waitpid(process, 0)
    os.close(seen)
    with os.fdopen(reading, "rb") as stream:
        content = stream.read()
    return [content[at : at + 32].hex() for at in range(0, len(content), 32)]


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessPoolExecutor]:
    """A new process, which has no threads and may therefore fork."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # starts it here, not in the first test
        yield pool


def test_killed_processes_leave_complete_images(catalogue, tmp_path, decoded, apart):
    folder, cache, count = catalogue(120).parent, tmp_path / "cache", 120
    killed = apart.submit(fill_and_kill, folder, cache, count).result(PATIENCE_S)
    assert killed == [signal.SIGKILL] * 10
    kept = records(cache)
    assert 0 < len(kept) < count
    made = load(folder, cache, count)
    assert sorted(decoded) == sorted(set(made.sha256) - set(kept))
    assert sorted(records(cache)) == sorted(set(made.sha256))  # none was decoded into two slots
    assert_right(made, folder, names(count))


def test_two_processes_decode_each_image_once(catalogue, tmp_path, decoded, apart):
    folder, cache = catalogue(40).parent, tmp_path / "cache"
    seen = apart.submit(fill_twice, folder, cache, 40).result(PATIENCE_S)
    made = load(folder, cache, 40)
    assert sorted(seen) == sorted(made.sha256)
    assert decoded == []
    assert_right(made, folder, names(40))


@pytest.mark.parametrize("moment", range(4))
def test_an_interrupt_while_rewriting_loses_nothing(folder, tmp_path, monkeypatch, decoded, moment):
    """Interrupt before or after the rename of the new pixels, or of the new index."""
    cache, left = tmp_path / "cache", iter(range(4))
    load(folder, cache, 4)

    @contextmanager
    def killed(path: Path):
        part = path.with_name(f".{path.stem}.1.part{path.suffix}")  # left behind, as by a kill
        yield part
        if next(left) == moment:
            raise KeyboardInterrupt
        part.replace(path)
        if next(left) == moment:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records_module, "atomic_write", killed)
        with pytest.raises(KeyboardInterrupt):
            load(folder, cache, 6, first=2, slots=5)
    assert len(list(the_store(cache).glob(".*.part*"))) == (moment in (0, 2))
    decoded.clear()
    made = load(folder, cache, 6, first=2, slots=5)
    assert sorted(decoded) == sorted(made.sha256[2:])
    assert_right(made, folder, names(6)[2:])
    assert set(records(cache)) >= set(made.sha256)
    assert not list(the_store(cache).glob(".*.part*"))
