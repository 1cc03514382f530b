import hashlib

import numpy as np
import pytest

from augrank.decode import decode
from augrank.errors import DataError
from training.manifest import check_manifest
from training.pictures import decode_all
from training.table import read_table


def test_pictures_are_decoded_as_served_and_kept(catalogue, tmp_path, display):
    folder = catalogue(5).parent
    files = [f"images/{number:03d}.png" for number in range(5)]
    first = decode_all(files, folder, 32, tmp_path / "cache", threads=2, display=display)
    assert first.pixels.shape == (5, 32, 32, 3)
    data = (folder / files[3]).read_bytes()
    np.testing.assert_array_equal(first.pixels[3], decode(data, 32).pixels)
    assert first.sha256[3] == hashlib.sha256(data).hexdigest()
    (made,) = (tmp_path / "cache").glob("*.npy")
    stamp = made.stat().st_mtime_ns
    again = decode_all(files, folder, 32, tmp_path / "cache", threads=1, display=display)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert made.stat().st_mtime_ns == stamp
    decode_all(files, folder, 40, tmp_path / "cache", threads=1, display=display)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_a_broken_picture_is_a_bad_row(catalogue, tmp_path, display):
    source = catalogue(4)
    broken = source.parent / "images" / "002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    manifest = check_manifest(read_table(source, {}), source.parent, ("original",))
    for _ in range(2):  # decoded, then from the cache
        pictures = decode_all(
            manifest.files, source.parent, 32, tmp_path / "cache", threads=2, display=display
        )
        assert list(pictures.broken) == [2]
        with pytest.raises(DataError, match=r"line 4: images/002.png: .*damaged or truncated"):
            manifest.without(pictures.broken, skip=False)
    kept = manifest.without(pictures.broken, skip=True)
    assert kept.skipped == 1
    assert kept.originals == ("images/000.png", "images/001.png", "images/003.png")
    assert kept.file.tolist() == [0, 1, 3]
    assert kept.original.tolist() == [0, 1, 2]
