"""Files are read and hashed once, by the threads that decode them."""

import shutil
import threading
import time
import zlib

from tests.support.patience import PATIENCE_S
from tests.training.data.image_cache.caches import assert_right, load, names, records, the_store
from training.data.image_cache import sources as images


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
    (cache / "digests.json").unlink()  # as if the images had moved
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
        until = time.monotonic() + PATIENCE_S
        # Until the other thread has read its file.
        while len(opened) < 3 and time.monotonic() < until:
            time.sleep(0.001)
        return noted(data, size)

    monkeypatch.setattr(images, "decode", slow)
    made = load(folder, cache, 3)
    assert sorted(decoded) == sorted(set(made.sha256))
    assert_right(made, folder, names(3))


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
