"""Image files: decoded as served and once, changed, damaged or unreadable."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from augrank.errors import DataError
from augrank.files import read_json
from augrank.images.decode import decode
from augrank.manifest.read import read_table
from tests.training.data.image_cache.caches import Bars, assert_right, full, load, names, the_store
from training.data.image_cache import sources as images
from training.data.image_cache.sources import CacheOptions, decode_all
from training.data.manifest.manifest import check_manifest


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


def test_slow_steps_have_a_progress_bar(folder, tmp_path):
    bars = Bars()
    for expected in (["Decoding", 6, 6], ["Checking", 6, 6]):
        decode_all(names(6), folder, 32, CacheOptions(tmp_path / "cache"), threads=2, reporter=bars)
        assert bars.seen.pop() == expected
        assert bars.seen == []


def test_a_file_that_changed_is_another_image(folder, tmp_path, decoded):
    load(folder, tmp_path / "cache")
    shutil.copyfile(folder / "images/001.png", folder / "images/000.png")
    made = load(folder, tmp_path / "cache")
    assert made.sha256[0] == made.sha256[1]
    np.testing.assert_array_equal(made.pixels[0], made.pixels[1])
    assert len(decoded) == 6


def test_a_disk_that_is_full_from_the_start_is_reported(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "write_json", full)
    with pytest.raises(DataError, match=r"cache cannot be written.*No space left on device"):
        load(folder, tmp_path / "cache")


def test_a_broken_image_is_a_bad_row(catalogue, tmp_path, reporter):
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


def test_unreadable_files_are_reported_and_tried_again(folder, tmp_path, monkeypatch):
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


def test_a_file_replaced_with_equal_time_and_size_is_reported_once(folder, tmp_path):
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


def test_an_image_too_large_for_memory_is_tried_again(folder, tmp_path, monkeypatch):
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


def test_damaged_notes_are_rebuilt(folder, tmp_path, decoded):
    cache = tmp_path / "cache"
    load(folder, cache)
    decoded.clear()
    for file in (cache / "digests.json", the_store(cache) / "broken.json"):
        file.write_text('{"half": ')
    assert_right(load(folder, cache), folder, names(6))
    assert decoded == []
    assert len(read_json(cache / "digests.json")) == 6


def test_digests_of_deleted_files_are_dropped(folder, tmp_path):
    cache = tmp_path / "cache"
    load(folder, cache, 3)
    (folder / "images/000.png").unlink()
    load(folder, cache, 6, first=2)
    known = read_json(cache / "digests.json")
    assert [Path(name).name for name in known] == [f"{n:03d}.png" for n in range(1, 6)]
