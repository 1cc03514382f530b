"""The cache of embeddings: stored rows, interrupted writes and limits."""

import errno
import os
import shutil

import numpy as np
import pytest

from augrank.errors import DataError
from training.data import memmap
from training.data.embedding_cache import EmbeddingStore, row_name
from training.data.image_cache.quota import GB, RESERVED_BYTES

WIDTH = 8
NAMES = [row_name(f"{number:064x}", "00" * 32) for number in range(10)]
FEATURES = np.random.default_rng(0).normal(size=(10, WIDTH)).astype(np.float32)


def store(cache, digest="a" * 64, **limit) -> EmbeddingStore:
    return EmbeddingStore(cache, digest, WIDTH, **limit)


def filled(cache, rows, digest="a" * 64, **limit) -> EmbeddingStore:
    made = store(cache, digest, **limit)
    with made.locked():
        made.kept = made.add([NAMES[row] for row in rows], FEATURES[rows])
    return made


def missing(kept: EmbeddingStore) -> list[int]:
    """Return the rows that are not stored; check the stored ones."""
    with kept.locked():
        features, absent = kept.read(NAMES)
    there = np.setdiff1d(np.arange(10), absent)
    np.testing.assert_array_equal(features[there], FEATURES[there])
    return absent.tolist()


def test_rows_are_stored_by_name_and_appended(tmp_path):
    assert missing(store(tmp_path)) == list(range(10))
    filled(tmp_path, [3, 1])
    filled(tmp_path, [9])
    assert missing(store(tmp_path)) == [0, 2, 4, 5, 6, 7, 8]
    assert missing(store(tmp_path, "b" * 64)) == list(range(10))


@pytest.mark.parametrize(("file", "cut"), [("features.f32", 5), ("features.f32", 40), ("index", 3)])
def test_a_partial_row_is_never_read(tmp_path, file, cut):
    folder = filled(tmp_path, [0, 1, 2, 3]).folder
    os.truncate(folder / file, (folder / file).stat().st_size - cut)
    gone = [2, 3] if cut == 40 else [3]
    assert missing(store(tmp_path)) == [*gone, *range(4, 10)]
    filled(tmp_path, gone)
    assert missing(store(tmp_path)) == list(range(4, 10))


def test_a_corrupt_row_is_computed_again(tmp_path):
    folder = filled(tmp_path, [0, 1, 2]).folder
    with (folder / "features.f32").open("r+b") as stream:
        stream.seek(WIDTH * 4 + 3)
        stream.write(b"\x7f")
    assert missing(store(tmp_path)) == [1, *range(3, 10)]
    filled(tmp_path, [1])
    assert missing(store(tmp_path)) == list(range(3, 10))


def test_the_limit_drops_older_embeddings_then_keeps_no_more(tmp_path):
    row = 4 * WIDTH + 20
    old = filled(tmp_path, [0, 1, 2], "b" * 64)
    os.utime(old.folder / "lock", ns=(1, 1))
    kept = filled(tmp_path, [0, 1, 2, 3], limit_gb=5 * row / GB)
    assert missing(kept) == list(range(4, 10))
    assert missing(store(tmp_path, "b" * 64)) == list(range(10))
    filled(tmp_path, [0], "b" * 64)
    assert not filled(tmp_path, [4, 5], limit_gb=5 * row / GB).kept
    assert missing(kept) == list(range(4, 10))
    assert missing(store(tmp_path, "b" * 64)) == list(range(1, 10))  # for nothing
    pixels = tmp_path / "96px-0"
    pixels.mkdir()
    (pixels / "lock").touch()
    (pixels / "pixels.u8").write_bytes(bytes(2 * row))
    filled(tmp_path, [4, 5], limit_gb=7 * row / GB)
    assert missing(kept) == list(range(4, 10))
    filled(tmp_path, [4, 5], limit_gb=8 * row / GB)
    assert missing(kept) == list(range(6, 10))
    assert (pixels / "pixels.u8").exists()


def test_a_nearly_full_disk_is_left_to_the_other_files_of_a_run(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(total=100 * GB, free=RESERVED_BYTES + 103)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert not filled(tmp_path, [0, 1]).kept
    assert filled(tmp_path, [0]).kept


def test_a_nearly_full_disk_drops_older_embeddings_first(tmp_path, monkeypatch):
    row, said = 4 * WIDTH + 20, list[str]()
    old = filled(tmp_path, [0, 1, 2], "b" * 64)
    usage = shutil.disk_usage(tmp_path)

    def now(_path):
        taken = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
        return usage._replace(total=100 * GB, free=RESERVED_BYTES + 4 * row - taken)

    monkeypatch.setattr(shutil, "disk_usage", now)
    assert filled(tmp_path, [0], say=said.append).kept
    assert said == []
    assert filled(tmp_path, [1, 2], say=said.append).kept
    assert said == [f"The cache is full: evicted {old.folder}, 0.15 KB, least recently used"]
    assert missing(store(tmp_path)) == list(range(3, 10))
    assert missing(store(tmp_path, "b" * 64)) == list(range(10))
    assert not filled(tmp_path, [3, 4]).kept
    assert filled(tmp_path, [3]).kept


def test_features_are_mapped_from_disk_if_memory_is_short(tmp_path, monkeypatch):
    filled(tmp_path, [0, 1, 2])
    kept = store(tmp_path)
    with kept.locked():
        in_memory, _ = kept.read(NAMES[:3])
        monkeypatch.setattr(memmap, "available_memory", lambda: 4 * 3 * WIDTH * 4 - 1)
        before = set(kept.folder.iterdir())
        on_disk, missing = kept.read(NAMES[:3])
        assert set(kept.folder.iterdir()) == before  # its file has no name
    assert in_memory.base is None
    assert isinstance(on_disk.base, np.memmap)
    assert missing.size == 0
    np.testing.assert_array_equal(on_disk, FEATURES[:3])
    on_disk[1] = 7
    np.testing.assert_array_equal(on_disk[1], 7)
    monkeypatch.setattr(memmap.os, "posix_fallocate", full)
    with kept.locked(), pytest.raises(DataError, match=r"cannot be written.*No space left"):
        kept.read(NAMES[:3])


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_reported_with_a_remedy(tmp_path):
    kept = store(tmp_path)
    kept.folder.mkdir(parents=True)
    (kept.folder / "features.f32").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written.*No space left.*Free space"):
        filled(tmp_path, [0])
