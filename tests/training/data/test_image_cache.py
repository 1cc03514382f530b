"""Decoded images: once each, whatever is interrupted, shared and spoiled meanwhile."""

import errno
import fcntl
import hashlib
import io
import math
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from augrank.cli.reporter import RichReporter
from augrank.errors import DataError
from augrank.files import read_json
from augrank.images.decode import decode
from augrank.reporting import NullReporter
from training.data.image_cache import quota
from training.data.image_cache import records as records_module
from training.data.image_cache import sources as images
from training.data.image_cache import store as image_store
from training.data.image_cache.quota import GB, KB, MB, size_text
from training.data.image_cache.reader import FileReader
from training.data.image_cache.records import RECORD
from training.data.image_cache.sources import CacheOptions, decode_all

QUIET = NullReporter()
SLOT_BYTES = 32 * 32 * 3 + RECORD.size


@pytest.fixture
def folder(catalogue) -> Path:
    return catalogue(6).parent


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Digests of what is decoded, in order."""
    seen: list[str] = []

    def noted(data: bytes, size: int):
        seen.append(hashlib.sha256(data).hexdigest())
        return decode(data, size)

    monkeypatch.setattr(images, "decode", noted)
    return seen


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names of the files whose bytes are read."""
    seen: list[str] = []
    read = images._Sources.read

    def noted(sources, number: int):
        seen.append(Path(sources._names[number]).name)
        return read(sources, number)

    monkeypatch.setattr(images._Sources, "read", noted)
    return seen


class Bars(NullReporter):
    """Notes the title and the count of each bar, and how far it came."""

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
    """Images first to count, in a cache that holds so many slots of 32 pixels."""
    return decode_all(
        names(count)[first:], folder, size, CacheOptions(cache, slots * SLOT_BYTES / GB),
        threads=2, reporter=QUIET,
    )  # fmt: skip


def the_store(cache: Path, size: int = 32) -> Path:
    (store,) = cache.glob(f"{size}px-*")
    return store


def records(cache: Path) -> list[str]:
    """Digests in the index, in order."""
    content = (the_store(cache) / "index").read_bytes()
    whole = len(content) - len(content) % RECORD.size
    return [digest.hex() for digest, _, _ in RECORD.iter_unpack(content[:whole])]


def assert_right(made, folder: Path, files: list[str]) -> None:
    for number, name in enumerate(files):
        want = decode((folder / name).read_bytes(), 32).pixels
        np.testing.assert_array_equal(made.pixels[number], want)


def full(*_arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_images_are_decoded_as_served_and_once(folder, tmp_path, decoded):
    first = load(folder, tmp_path / "cache", 5)
    assert len(first.pixels) == 5
    assert first.pixels.side == 32
    data = (folder / names(5)[3]).read_bytes()
    np.testing.assert_array_equal(first.pixels[3], decode(data, 32).pixels)
    assert first.sha256[3] == hashlib.sha256(data).hexdigest()
    assert len(decoded) == 5
    again = load(folder, tmp_path / "cache", 6)  # another manifest with one image more
    assert len(decoded) == 6
    np.testing.assert_array_equal(first.pixels[3], again.pixels[3])
    load(folder, tmp_path / "cache", size=40)  # another size is another store
    assert len(decoded) == 12
    assert len(list((tmp_path / "cache").glob("*px-*"))) == 2


def test_the_same_bytes_under_two_names_are_decoded_once(folder, tmp_path, decoded):
    shutil.copyfile(folder / "images/000.png", folder / "images/005.png")
    made = load(folder, tmp_path / "cache")
    assert len(decoded) == 5
    np.testing.assert_array_equal(made.pixels[0], made.pixels[5])


def test_files_are_read_once_and_looked_up_before_they_are_decoded(
    folder, tmp_path, monkeypatch, decoded, opened
):
    cache, noted, ahead = tmp_path / "cache", images.decode, []

    def counted(data: bytes, size: int):
        made = noted(data, size)
        ahead.append(len(opened) - len(decoded))
        return made

    monkeypatch.setattr(images, "decode", counted)
    shutil.copyfile(folder / "images/000.png", folder / "images/005.png")
    load(folder, cache)
    assert sorted(opened) == [f"{n:03d}.png" for n in range(6)]
    assert len(decoded) == 5
    assert max(ahead) <= 2  # bytes of two files at a time, one a thread
    assert (the_store(cache) / "pixels.u8").stat().st_size == 6 * 32 * 32 * 3
    opened.clear()
    decoded.clear()
    load(folder, cache)
    assert (opened, decoded) == ([], [])
    (cache / "digests.json").unlink()  # or the images are elsewhere
    shutil.copyfile(folder / "images/000.png", folder / "images/002.png")
    assert_right(load(folder, cache), folder, names(6))
    assert len(opened) == 6
    assert decoded == []
    assert len(records(cache)) == 5
    assert (the_store(cache) / "pixels.u8").stat().st_size == 6 * 32 * 32 * 3


def test_the_same_bytes_at_the_same_time_are_decoded_once(
    folder, tmp_path, monkeypatch, decoded, opened
):
    cache, noted = tmp_path / "cache", images.decode
    shutil.copyfile(folder / "images/000.png", folder / "images/001.png")

    def slow(data: bytes, size: int):
        until = time.monotonic() + 60
        while len(opened) < 3 and time.monotonic() < until:  # the other thread goes on
            time.sleep(0.001)
        return noted(data, size)

    monkeypatch.setattr(images, "decode", slow)
    made = load(folder, cache, 3)
    assert sorted(decoded) == sorted(set(made.sha256))
    assert_right(made, folder, names(3))


def test_new_images_among_unknown_ones_take_no_more_slots_than_they_need(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    decode_all(names(6)[::2], folder, 32, CacheOptions(cache), threads=2, reporter=QUIET)
    (cache / "digests.json").unlink()
    decoded.clear()
    made = load(folder, cache)
    assert sorted(decoded) == sorted(made.sha256[1::2])
    assert_right(made, folder, names(6))
    assert (the_store(cache) / "pixels.u8").stat().st_size == 7 * 32 * 32 * 3


def test_where_room_is_short_files_are_hashed_first(folder, tmp_path, decoded, opened):
    """Were all of them new they would pass the limit, for which others would have to go."""
    cache, bars = tmp_path / "cache", Bars()
    shutil.copyfile(folder / "images/000.png", folder / "images/005.png")
    load(folder, cache, 1, size=16)
    limit = 6 * SLOT_BYTES + 2 * (16 * 16 * 3 + RECORD.size)
    opened.clear()
    decoded.clear()
    made = decode_all(
        names(6), folder, 32, CacheOptions(cache, limit / GB), threads=2, reporter=bars
    )
    assert bars.seen == [["Hashing", 5, 5], ["Decoding", 5, 5]]  # one is known of 16 pixels
    assert (len(opened), len(decoded)) == (10, 5)
    assert_right(made, folder, names(6))
    assert (the_store(cache, 16) / "pixels.u8").exists()
    (cache / "digests.json").unlink()
    bars.seen.clear()
    decode_all(names(6), folder, 32, CacheOptions(cache, limit / GB), threads=2, reporter=bars)
    assert bars.seen == [["Hashing", 6, 6], ["Checking", 5, 5]]
    assert len(decoded) == 5
    assert (the_store(cache, 16) / "pixels.u8").exists()


def test_what_takes_long_has_a_bar(folder, tmp_path):
    bars = Bars()
    for expected in (["Decoding", 6, 6], ["Checking", 6, 6]):
        decode_all(names(6), folder, 32, CacheOptions(tmp_path / "cache"), threads=2, reporter=bars)
        assert bars.seen.pop() == expected
        assert bars.seen == []


def test_an_interrupt_keeps_digests_and_what_is_known_of_broken_files(
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
    assert len(decoded) == 2  # neither the broken one nor the three that are there
    assert list(made.broken) == [0]


def test_checksums_are_computed_by_the_threads_that_decode(folder, tmp_path, monkeypatch):
    by, crc32 = set(), zlib.crc32

    def noted(data, *start: int) -> int:
        if memoryview(data).nbytes == 32 * 32 * 3:
            by.add(threading.current_thread())
        return crc32(data, *start)

    monkeypatch.setattr(zlib, "crc32", noted)
    assert load(folder, tmp_path / "cache").broken == {}
    assert by
    assert threading.main_thread() not in by


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


def fill_slowly(folder: Path, cache: Path, count: int, seen: int) -> int:
    """Fill in a process of its own that writes each digest it decodes to ``seen``; its number."""
    if (process := os.fork()) > 0:
        return process
    try:

        def slow(data: bytes, size: int):
            os.write(seen, hashlib.sha256(data).digest())
            time.sleep(0.002)
            return decode(data, size)

        images.decode = slow  # in this process alone
        load(folder, cache, count)
    finally:
        os._exit(0)


def fill_and_kill(folder: Path, cache: Path, count: int) -> list[int]:
    """Ten processes, each killed in the middle of decoding: the signals that ended them."""
    draw, signals = random.Random(0), []
    for _ in range(10):
        reading, seen = os.pipe()
        process = fill_slowly(folder, cache, count, seen)
        os.close(seen)
        for _ in range(draw.randint(1, 10)):
            os.read(reading, 32)
        time.sleep(draw.uniform(0, 0.002))
        os.kill(process, signal.SIGKILL)
        signals.append(os.WTERMSIG(os.waitpid(process, 0)[1]))
        os.close(reading)
    return signals


def fill_twice(folder: Path, cache: Path, count: int) -> list[str]:
    """Two processes at a time: what they decode, in order."""
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
    """A fresh process, which has no threads and so may fork."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.getpid).result()  # starts it here, not in the first test
        yield pool


def test_killed_processes_leave_whole_images(catalogue, tmp_path, decoded, apart):
    folder, cache, count = catalogue(120).parent, tmp_path / "cache", 120
    killed = apart.submit(fill_and_kill, folder, cache, count).result(timeout=300)
    assert killed == [signal.SIGKILL] * 10
    kept = records(cache)
    assert 0 < len(kept) < count
    made = load(folder, cache, count)
    assert sorted(decoded) == sorted(set(made.sha256) - set(kept))
    assert sorted(records(cache)) == sorted(set(made.sha256))  # none was decoded into two slots
    assert_right(made, folder, names(count))


def test_two_processes_decode_each_image_once(catalogue, tmp_path, decoded, apart):
    folder, cache = catalogue(40).parent, tmp_path / "cache"
    seen = apart.submit(fill_twice, folder, cache, 40).result(timeout=300)
    made = load(folder, cache, 40)
    assert sorted(seen) == sorted(made.sha256)
    assert decoded == []
    assert_right(made, folder, names(40))


def test_a_spoiled_slot_is_decoded_again(folder, tmp_path, decoded):
    load(folder, tmp_path / "cache")
    pixels = the_store(tmp_path / "cache") / "pixels.u8"
    with pixels.open("r+b") as stream:
        stream.seek(3 * 32 * 32 * 3 + 100)  # slot 0 is white
        stream.write(b"spoiled")
    decoded.clear()
    made = load(folder, tmp_path / "cache")
    assert decoded == [made.sha256[2]]
    want = decode((folder / names(3)[2]).read_bytes(), 32).pixels
    np.testing.assert_array_equal(made.pixels[2], want)
    decoded.clear()
    load(folder, tmp_path / "cache")
    assert decoded == []


def test_a_file_that_changed_is_another_image(folder, tmp_path, decoded):
    load(folder, tmp_path / "cache")
    shutil.copyfile(folder / "images/001.png", folder / "images/000.png")
    made = load(folder, tmp_path / "cache")
    assert made.sha256[0] == made.sha256[1]
    np.testing.assert_array_equal(made.pixels[0], made.pixels[1])
    assert len(decoded) == 6


def test_a_full_disk_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(total=100 << 30, free=(1 << 30) + 1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(DataError, match=r"decoded images do not fit on the disk[\s\S]*--cache"):
            load(folder, tmp_path / "cache")
    assert not (the_store(tmp_path / "cache") / "pixels.u8").exists()
    assert_right(load(folder, tmp_path / "cache"), folder, names(6))


def test_a_disk_that_has_no_room_for_the_slots_is_said(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(folder, tmp_path / "cache")
    assert_right(load(folder, tmp_path / "cache"), folder, names(6))


@pytest.mark.parametrize("taken", [-1, 0, 100])
def test_a_disk_that_fills_meanwhile_loses_nothing(folder, tmp_path, monkeypatch, decoded, taken):
    """Of the fourth image the disk takes so many bytes; -1: none, and says so."""
    cache, pwrite = tmp_path / "cache", os.pwrite

    def short(descriptor: int, data, offset: int) -> int:
        if offset != 4 * 32 * 32 * 3:
            return pwrite(descriptor, data, offset)
        return full() if taken < 0 else pwrite(descriptor, bytes(data)[:taken], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", short)
        with pytest.raises(
            DataError, match=r"cannot be written: expected .* got No space .*--cache"
        ):
            load(folder, cache)
    kept = records(cache)
    assert len(kept) == 3
    decoded.clear()
    made = load(folder, cache)
    assert sorted(decoded) == sorted(set(made.sha256) - set(kept))
    assert_right(made, folder, names(6))


def test_a_disk_that_is_full_from_the_start_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "write_json", full)
    with pytest.raises(DataError, match=r"cache cannot be written.*No space left on device"):
        load(folder, tmp_path / "cache")


def test_a_broken_image_is_a_bad_row(catalogue, tmp_path, reporter):
    from training.data.manifest.manifest import (
        check_manifest,  # slow to import: the process apart needs none
    )
    from training.data.manifest.read import read_table

    source = catalogue(4)
    broken = source.parent / "images" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    manifest = check_manifest(read_table(source, {}), source.parent, ("original",))
    for _ in range(2):  # decoded, then from the cache
        made = decode_all(
            manifest.files,
            source.parent,
            32,
            CacheOptions(tmp_path / "cache"),
            threads=2,
            reporter=reporter,
        )
        assert list(made.broken) == [2]
        assert (made.pixels[2] == 255).all()
        with pytest.raises(DataError, match=r"line 4: images/002.png: .*damaged or truncated"):
            manifest.without(made.broken, skip=False)
    kept = manifest.without(made.broken, skip=True)
    assert kept.skipped == 1
    assert kept.originals == ("images/000.png", "images/001.png", "images/003.png")
    assert kept.file.tolist() == [0, 1, 3]
    assert kept.original.tolist() == [0, 1, 2]


def test_files_that_cannot_be_read_now_are_told_and_tried_again(folder, tmp_path, monkeypatch):
    cache, (first, second) = tmp_path / "cache", names(2)
    content = {name: (folder / name).read_bytes() for name in (first, second)}
    load(folder, cache, size=40)  # digests are known
    (folder / first).unlink()
    look = images._Sources.stat_all

    def written_meanwhile(*arguments):
        found = look(*arguments)
        (folder / second).write_bytes(content[first])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(images._Sources, "stat_all", written_meanwhile)
        made = load(folder, cache)
    assert made.broken == {
        0: "the file cannot be read: No such file or directory",
        1: "the file changed while it was being read",
    }
    assert (made.pixels[0] == 255).all()
    np.testing.assert_array_equal(
        made.pixels[2], decode((folder / names(6)[2]).read_bytes(), 32).pixels
    )
    (folder / first).write_bytes(content[first])
    (folder / second).write_bytes(content[second])
    again = load(folder, cache)
    assert again.broken == {}
    assert_right(again, folder, names(6))


def test_a_file_replaced_within_its_time_and_size_is_told_once(folder, tmp_path):
    cache, file = tmp_path / "cache", folder / names(1)[0]
    other = (folder / names(2)[1]).read_bytes()
    size = max(len(other), file.stat().st_size)
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    load(folder, cache)
    then = file.stat().st_mtime_ns
    file.write_bytes(other.ljust(size, b"\0"))
    os.utime(file, ns=(then, then))
    assert load(folder, cache, size=40).broken == {0: "the file changed while it was being read"}
    made = load(folder, cache)
    assert made.broken == {}
    assert made.sha256[0] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert_right(made, folder, names(6))
    assert load(folder, cache, size=40).broken == {}


def test_an_image_that_memory_does_not_hold_is_tried_again(folder, tmp_path, monkeypatch):
    spoiled = (folder / names(3)[2]).read_bytes()

    def large(data: bytes, size: int):
        if data == spoiled:
            raise MemoryError
        return decode(data, size)

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", large)
        made = load(folder, tmp_path / "cache")
    assert made.broken == {2: "there is not enough memory to decode it"}
    assert (made.pixels[2] == 255).all()
    again = load(folder, tmp_path / "cache")
    assert again.broken == {}
    assert_right(again, folder, names(6))


@pytest.mark.parametrize("below", [".", "cache"])
def test_a_cache_that_is_a_file_is_told(folder, tmp_path, below):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataError, match=r"/file is not a folder: .* Name a folder with --cache"):
        load(folder, file / below)


@pytest.mark.parametrize(
    ("size_bytes", "down", "up"),
    [
        (0, "0.00 KB", "0.00 KB"),
        (18_672, "18.23 KB", "18.24 KB"),
        (MB / 10 - 1, "102.39 KB", "102.40 KB"),
        (72 * MB, "72.00 MB", "72.00 MB"),
        (GB + 1, "1.00 GB", "1.01 GB"),
        (2048 * GB, "2,048.00 GB", "2,048.00 GB"),
    ],
)
def test_sizes_have_the_unit_that_tells_them_apart(size_bytes, down, up):
    assert (size_text(size_bytes), size_text(size_bytes, up=True)) == (down, up)


def disk(monkeypatch, cache: Path, total: int, others: int = 0) -> None:
    """A disk of so many bytes, of which the cache's files and so many other bytes are taken."""
    usage = shutil.disk_usage(cache.parent)

    def now(_path: Path):
        taken = others + sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
        return usage._replace(total=total, used=taken, free=max(0, total - taken))

    monkeypatch.setattr(shutil, "disk_usage", now)


def test_a_small_disk_is_taken_and_a_full_one_refused_only_for_more(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        disk(patch, cache, 64 * MB)
        assert_right(load(folder, cache, 4), folder, names(4))
    (cache / "digests.json").unlink()
    disk(monkeypatch, cache, 64 * MB, others=64 * MB)
    assert_right(load(folder, cache, 4), folder, names(4))
    why = (
        r"the decoded images do not fit on the disk .* "
        r"expected 3\.21 MB free, of which 3\.19 MB stay free, "
        r"got 0\.00 KB\. Free space beside .*/cache \(its older folders are evicted automatically\)"
    )
    with pytest.raises(DataError, match=why):
        load(folder, cache)
    assert len(records(cache)) == 4


def test_a_full_disk_removes_other_folders_first_the_least_recently_used_first(
    folder, tmp_path, monkeypatch
):
    cache, console = tmp_path / "cache", Console(record=True, width=200, file=io.StringIO())
    for age, size in ((2, 64), (1, 65)):
        load(folder, cache, 6, size)
        then = time.time() - 100 * age
        os.utime(the_store(cache, size) / "lock", (then, then))
    old = the_store(cache, 64)
    kept = quota.RESERVED_SHARE
    taken = sum(file.stat().st_size for file in cache.rglob("*"))
    disk(monkeypatch, cache, int((taken + 10_000) / (1 - kept)))  # 7 slots are 21,784
    made = decode_all(
        names(6), folder, 32, CacheOptions(cache), threads=2, reporter=RichReporter(console)
    )
    assert_right(made, folder, names(6))
    assert [path.name for path in old.iterdir()] == ["lock"]
    assert (the_store(cache, 65) / "pixels.u8").exists()
    assert f"evicted {old}, 84.23 KB, least recently used" in console.export_text()


def test_slots_that_were_reserved_need_no_more_of_a_full_disk(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(folder, cache)
    disk(monkeypatch, cache, 64 * MB, others=64 * MB)
    assert_right(load(folder, cache), folder, names(6))


def test_a_full_disk_loses_no_folder_for_nothing(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    load(folder, cache, 1, 40)
    disk(monkeypatch, cache, 64 * KB, others=50 * KB)  # both sizes are 31 KB
    with pytest.raises(DataError, match="do not fit on the disk"):
        load(folder, cache)
    assert (the_store(cache, 40) / "pixels.u8").exists()


def test_the_limit_removes_other_folders_first_the_least_recently_used_first(
    folder, tmp_path, decoded
):
    cache, mapped = tmp_path / "cache", {}
    for age, size in ((3, 33), (2, 34), (1, 35)):
        mapped[size] = load(folder, cache, 3, size).pixels
        then = time.time() - 100 * age
        os.utime(the_store(cache, size) / "lock", (then, then))
    load(folder, cache, 2)
    load(folder, cache, 3, 33)  # used again: 34 is the oldest now
    decoded.clear()
    made = load(folder, cache, slots=17)  # 7 slots, and 10 for 8 of 33 and 35 pixels
    assert len(decoded) == 4
    assert_right(made, folder, names(6))
    assert [path.name for path in the_store(cache, 34).iterdir()] == ["lock"]
    for kept in (33, 35):
        assert (the_store(cache, kept) / "pixels.u8").exists()
    want = decode((folder / names(3)[2]).read_bytes(), 34).pixels
    np.testing.assert_array_equal(mapped[34][2], want)  # who has it mapped reads on
    decoded.clear()
    load(folder, cache, 3, 35)
    assert decoded == []
    np.testing.assert_array_equal(load(folder, cache, 3, 34).pixels[2], want)
    assert len(decoded) == 3


def test_a_folder_that_another_process_fills_is_left_alone(folder, tmp_path):
    load(folder, tmp_path / "cache", size=40)
    busy = the_store(tmp_path / "cache", 40)
    with (busy / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_right(load(folder, tmp_path / "cache", slots=7), folder, names(6))
        assert (busy / "pixels.u8").exists()


def test_what_a_run_waits_for_and_what_it_removes_is_told(folder, tmp_path):
    cache, said = tmp_path / "cache", list[str]()

    def fill(size: int, limit_gb: float = math.inf) -> None:
        store = image_store.ImageStore(cache, size, limit_gb, said.append)
        files = FileReader(
            lambda _: ("00" * 32, b""),
            lambda _: np.zeros((size, size, 3), np.uint8),
            threads=1,
            track=lambda items, _count, _title: items,
        )
        with store.locked():
            store.fill(["00" * 32], files)

    fill(32)
    assert said == []
    with (the_store(cache) / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(fill, 32)
            while not (said or waiting.done()):
                time.sleep(0.01)
            assert not waiting.done()
            fcntl.flock(lock, fcntl.LOCK_UN)
            waiting.result()
    assert said == [f"Waiting for another process that is filling {the_store(cache)}"]
    fill(40, 2 * (40 * 40 * 3 + RECORD.size) / GB)
    gone = f"The cache is full: evicted {the_store(cache)}, 6.03 KB, least recently used"
    assert said[1:] == [gone]


def test_the_limit_removes_images_that_are_not_wanted(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    before = load(folder, cache, 4)
    decoded.clear()
    made = load(folder, cache, 6, first=2, slots=5)  # the white slot and four images
    assert sorted(decoded) == sorted(made.sha256[2:])  # two were there
    assert_right(made, folder, names(6)[2:])
    assert_right(before, folder, names(4))  # mapped before: the old ones
    assert sorted(records(cache)) == sorted(made.sha256)
    assert (the_store(cache) / "pixels.u8").stat().st_size == 5 * 32 * 32 * 3
    decoded.clear()
    assert_right(load(folder, cache, 6, first=2, slots=5), folder, names(6)[2:])
    assert decoded == []


def test_slots_that_were_reserved_and_not_filled_count_too(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(folder, tmp_path / "cache")
    pixels = the_store(tmp_path / "cache") / "pixels.u8"
    assert pixels.stat().st_size == 7 * 32 * 32 * 3
    assert_right(load(folder, tmp_path / "cache", 2, slots=3), folder, names(2))
    assert pixels.stat().st_size == 3 * 32 * 32 * 3


@pytest.mark.parametrize("moment", range(4))
def test_an_interrupt_while_rewriting_loses_nothing(folder, tmp_path, monkeypatch, decoded, moment):
    """Killed with the pixels or the index written, before or after they take their place."""
    cache, left = tmp_path / "cache", iter(range(4))
    load(folder, cache, 4)

    @contextmanager
    def killed(path: Path):
        part = path.with_name(f".{path.stem}.1.part{path.suffix}")  # stays: nobody tidies up
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


def test_more_than_the_limit_is_refused_before_anything_is_done(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    load(folder, cache, 2, size=40)
    load(folder, cache, 2)
    decoded.clear()
    why = (
        r"expected at most 18\.23 KB, got 21\.28 KB, 6 images of 32 px\. "
        r"Give --cache-gb 1, or .*--image"
    )
    with pytest.raises(DataError, match=why):
        load(folder, cache, slots=6)
    assert decoded == []
    assert len(records(cache)) == 2
    assert (the_store(cache, 40) / "pixels.u8").exists()
    load(folder, cache, 2, slots=1)  # nothing new: nothing to refuse
    assert_right(load(folder, cache, slots=7), folder, names(6))


def test_the_option_of_fit_is_the_limit(catalogue, tmp_path):
    from training.cli.app import app

    fit = ["fit", "--manifest", str(catalogue(6)), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*fit, "--image-size", "32", "--cache-gb", "0.00001"])
    assert result.exit_code == 2
    assert "Give --cache-gb 1, or choose a smaller --image-size." in result.output
    assert not list((tmp_path / "run" / "cache").glob("*/pixels.u8"))


def test_damaged_notes_are_made_anew(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    load(folder, cache)
    decoded.clear()
    for file in (cache / "digests.json", the_store(cache) / "broken.json"):
        file.write_text('{"half": ')
    assert_right(load(folder, cache), folder, names(6))
    assert decoded == []
    assert len(read_json(cache / "digests.json")) == 6


def test_digests_of_files_that_are_gone_are_forgotten(folder, tmp_path):
    cache = tmp_path / "cache"
    load(folder, cache, 3)
    (folder / "images/000.png").unlink()
    load(folder, cache, 6, first=2)
    known = read_json(cache / "digests.json")
    assert [Path(name).name for name in known] == [f"{n:03d}.png" for n in range(1, 6)]
