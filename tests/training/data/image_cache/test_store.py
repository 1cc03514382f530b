"""Slots of a store: how many are taken, checked and rewritten, and a disk that is full."""

import os
import shutil

import numpy as np
import pytest

from augrank.errors import DataError
from augrank.images.decode import decode
from tests.training.data.image_cache.caches import (
    QUIET,
    SLOT_BYTES,
    Bars,
    assert_right,
    full,
    load,
    names,
    records,
    the_store,
)
from training.data.image_cache.quota import GB
from training.data.image_cache.records import RECORD
from training.data.image_cache.sources import CacheOptions, decode_all


def test_new_images_among_unknown_ones_take_no_more_slots_than_they_need(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    decode_all(names(6)[::2], folder, 32, CacheOptions(cache), threads=2, reporter=QUIET)
    (cache / "digests.json").unlink()
    decoded.clear()
    made = load(folder, cache)
    assert sorted(decoded) == sorted(made.sha256[1::2])
    assert_right(made, folder, names(6))
    assert (the_store(cache) / "pixels.u8").stat().st_size == 7 * 32 * 32 * 3


def test_files_are_hashed_first_if_space_is_short(folder, tmp_path, decoded, opened):
    """If all files were new, they would exceed the limit and evict another folder."""
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


def test_a_corrupt_slot_is_decoded_again(folder, tmp_path, decoded):
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


def test_a_full_disk_is_reported_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(total=100 << 30, free=(1 << 30) + 1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(DataError, match=r"decoded images do not fit on the disk[\s\S]*--cache"):
            load(folder, tmp_path / "cache")
    assert not (the_store(tmp_path / "cache") / "pixels.u8").exists()
    assert_right(load(folder, tmp_path / "cache"), folder, names(6))


def test_a_disk_without_space_for_the_slots_is_reported(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(folder, tmp_path / "cache")
    assert_right(load(folder, tmp_path / "cache"), folder, names(6))


@pytest.mark.parametrize("taken", [-1, 0, 100])
def test_a_disk_that_fills_while_decoding_loses_nothing(
    folder, tmp_path, monkeypatch, decoded, taken
):
    """The disk writes ``taken`` bytes of the fourth image, or raises ENOSPC if that is -1."""
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


def test_the_quota_removes_images_that_are_not_wanted(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    before = load(folder, cache, 4)
    decoded.clear()
    made = load(folder, cache, 6, first=2, slots=5)  # the white slot and four images
    assert sorted(decoded) == sorted(made.sha256[2:])  # two were cached
    assert_right(made, folder, names(6)[2:])
    assert_right(before, folder, names(4))  # mapped before: still the old images
    assert sorted(records(cache)) == sorted(made.sha256)
    assert (the_store(cache) / "pixels.u8").stat().st_size == 5 * 32 * 32 * 3
    decoded.clear()
    assert_right(load(folder, cache, 6, first=2, slots=5), folder, names(6)[2:])
    assert decoded == []


def test_reserved_empty_slots_count_towards_the_quota(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(DataError, match="No space left on device"):
            load(folder, tmp_path / "cache")
    pixels = the_store(tmp_path / "cache") / "pixels.u8"
    assert pixels.stat().st_size == 7 * 32 * 32 * 3
    assert_right(load(folder, tmp_path / "cache", 2, slots=3), folder, names(2))
    assert pixels.stat().st_size == 3 * 32 * 32 * 3
