"""The quota of a cache and the space of its disk: eviction, refusals, locks."""

import fcntl
import io
import math
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from augrank.cli.reporter import RichReporter
from augrank.errors import DataError
from augrank.images.decode import decode
from tests.training.data.image_cache.caches import (
    assert_right,
    full,
    load,
    names,
    records,
    the_store,
)
from training.cli.app import app
from training.data.image_cache import quota
from training.data.image_cache import store as image_store
from training.data.image_cache.quota import GB, KB, MB, size_text
from training.data.image_cache.reader import FileReader
from training.data.image_cache.records import RECORD
from training.data.image_cache.sources import CacheOptions, decode_all


@pytest.mark.parametrize("below", [".", "cache"])
def test_a_cache_path_that_is_a_file_is_reported(folder, tmp_path, below):
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
    """Simulate a disk of ``total`` bytes that holds the cache and ``others`` further bytes."""
    usage = shutil.disk_usage(cache.parent)

    def now(_path: Path):
        taken = others + sum(f.stat().st_size for f in cache.rglob("*") if f.is_file())
        return usage._replace(total=total, used=taken, free=max(0, total - taken))

    monkeypatch.setattr(shutil, "disk_usage", now)


def test_a_small_disk_is_used_and_a_full_one_refused_only_for_new_images(
    folder, tmp_path, monkeypatch
):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        disk(patch, cache, 64 * MB)
        assert_right(load(folder, cache, 4), folder, names(4))
    (cache / "digests.json").unlink()
    disk(monkeypatch, cache, 64 * MB, others=64 * MB)
    assert_right(load(folder, cache, 4), folder, names(4))
    why = (
        r"do not fit on the disk .* expected 3\.21 MB free, of which 3\.19 MB stay free, "
        r"got 0\.00 KB\. Free space beside .*/cache \(its older folders are evicted automatically\)"
    )
    with pytest.raises(DataError, match=why):
        load(folder, cache)
    assert len(records(cache)) == 4


def test_a_full_disk_evicts_other_folders_in_lru_order(folder, tmp_path, monkeypatch):
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


def test_reserved_slots_need_no_more_space_on_a_full_disk(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(folder, cache)
    disk(monkeypatch, cache, 64 * MB, others=64 * MB)
    assert_right(load(folder, cache), folder, names(6))


def test_no_folder_is_evicted_if_the_disk_stays_too_full(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    load(folder, cache, 1, 40)
    disk(monkeypatch, cache, 64 * KB, others=50 * KB)  # both sizes are 31 KB
    with pytest.raises(DataError, match="do not fit on the disk"):
        load(folder, cache)
    assert (the_store(cache, 40) / "pixels.u8").exists()


def test_the_quota_evicts_other_folders_in_lru_order(folder, tmp_path, decoded):
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
    np.testing.assert_array_equal(mapped[34][2], want)  # an existing memory map stays readable
    decoded.clear()
    load(folder, cache, 3, 35)
    assert decoded == []
    np.testing.assert_array_equal(load(folder, cache, 3, 34).pixels[2], want)
    assert len(decoded) == 3


def test_a_folder_locked_by_another_process_is_not_evicted(folder, tmp_path):
    load(folder, tmp_path / "cache", size=40)
    busy = the_store(tmp_path / "cache", 40)
    with (busy / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_right(load(folder, tmp_path / "cache", slots=7), folder, names(6))
        assert (busy / "pixels.u8").exists()


def test_waiting_and_evictions_are_reported(folder, tmp_path):
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


def test_exceeding_the_quota_is_refused_before_any_work(folder, tmp_path, decoded):
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
    load(folder, cache, 2, slots=1)  # no new images, so nothing is refused
    assert_right(load(folder, cache, slots=7), folder, names(6))


def test_the_option_cache_gb_of_fit_is_the_quota(catalogue, tmp_path):
    fit = ["fit", "--manifest", str(catalogue(6)), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*fit, "--image-size", "32", "--cache-gb", "0.00001"])
    assert result.exit_code == 2
    assert "Give --cache-gb 1, or choose a smaller --image-size." in result.output
    assert not list((tmp_path / "run" / "cache").glob("*/pixels.u8"))
