"""Decoded pictures: once each, whatever is interrupted, shared and spoiled meanwhile."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from augrank.decode import decode
from augrank.errors import DataError
from training import picture_store, pictures
from training.manifest import check_manifest
from training.picture_store import RECORD
from training.pictures import decode_all
from training.progress import Display
from training.table import read_table

QUIET = Display(quiet=True)


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

    monkeypatch.setattr(pictures, "decode", noted)
    return seen


def names(count: int) -> list[str]:
    return [f"images/{number:03d}.png" for number in range(count)]


def load(folder: Path, cache: Path, count: int = 6, size: int = 32):
    return decode_all(names(count), folder, size, cache, threads=2, display=QUIET)


def the_store(cache: Path) -> Path:
    (store,) = cache.glob("32px-*")
    return store


def test_pictures_are_decoded_as_served_and_once(folder, tmp_path, decoded):
    first = load(folder, tmp_path / "cache", 5)
    assert len(first.pixels) == 5
    assert first.pixels.side == 32
    data = (folder / names(5)[3]).read_bytes()
    np.testing.assert_array_equal(first.pixels[3], decode(data, 32).pixels)
    assert first.sha256[3] == hashlib.sha256(data).hexdigest()
    assert len(decoded) == 5
    again = load(folder, tmp_path / "cache", 6)  # another manifest with one picture more
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


def test_an_interrupt_loses_nothing_that_was_decoded(folder, tmp_path, monkeypatch, decoded):
    cache, noted = tmp_path / "cache", pictures.decode

    def interrupted(data: bytes, size: int):
        if len(decoded) == 4:
            raise KeyboardInterrupt
        return noted(data, size)

    monkeypatch.setattr(pictures, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode_all(names(6), folder, 32, cache, threads=1, display=QUIET)
    index = the_store(cache) / "index"
    kept = index.stat().st_size // RECORD.size
    assert kept == 4
    with index.open("ab") as stream:
        stream.write(b"half a record")
    monkeypatch.setattr(pictures, "decode", noted)
    decoded.clear()
    made = load(folder, cache)
    assert len(decoded) == 2
    assert index.stat().st_size == 6 * RECORD.size
    for number, name in enumerate(names(6)):
        want = decode((folder / name).read_bytes(), 32).pixels
        np.testing.assert_array_equal(made.pixels[number], want)


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


def test_a_file_that_changed_is_another_picture(folder, tmp_path, decoded):
    load(folder, tmp_path / "cache")
    shutil.copyfile(folder / "images/001.png", folder / "images/000.png")
    made = load(folder, tmp_path / "cache")
    assert made.sha256[0] == made.sha256[1]
    np.testing.assert_array_equal(made.pixels[0], made.pixels[1])
    assert len(decoded) == 6


def test_a_full_disk_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=(1 << 30) + 1000)
    monkeypatch.setattr(picture_store.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(DataError, match=r"does not hold the decoded pictures[\s\S]*--cache"):
        load(folder, tmp_path / "cache")
    assert not (the_store(tmp_path / "cache") / "pixels.u8").exists()


def test_a_disk_that_fills_meanwhile_is_said(folder, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_store.os, "posix_fallocate", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(folder, tmp_path / "cache")


def test_a_broken_picture_is_a_bad_row(catalogue, tmp_path, display):
    source = catalogue(4)
    broken = source.parent / "images" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    manifest = check_manifest(read_table(source, {}), source.parent, ("original",))
    for _ in range(2):  # decoded, then from the cache
        made = decode_all(
            manifest.files, source.parent, 32, tmp_path / "cache", threads=2, display=display
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
