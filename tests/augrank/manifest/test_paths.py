"""The files that a manifest names."""

import numpy as np
import pandas as pd
import pytest

from augrank.manifest.paths import check_paths
from augrank.manifest.problems import Problems

NFC, NFD = "\u00c4pfel.png", "A\u0308pfel.png"


@pytest.fixture
def images(tmp_path):
    for name in ("a.jpg", "Shoes/Red.JPG", NFD):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    return tmp_path / "images"


def check(images, path: str) -> tuple[str, str | None]:
    problems = Problems("line", np.array([2]))
    (found,) = check_paths(pd.Series([path], dtype=str), images, problems)
    return found, problems.reasons.get(0)


def test_files_are_found_as_the_disk_spells_them(images):
    assert check(images, "./Shoes//Red.JPG") == ("Shoes/Red.JPG", None)
    assert check(images, "Shoes/../a.jpg") == ("a.jpg", None)
    assert check(images, NFC) == check(images, NFD) == (NFD, None)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "relative_im_path is blank"),
        ("../secret.png", "is outside the images folder"),
        ("Shoes/../../secret.png", "is outside the images folder"),
        ("/etc/hostname", "is an absolute path, outside the images folder: give it relative to"),
        ("C:\\images\\a.jpg", "is an absolute path"),
        ("Shoes\\Red.JPG", "folders are separated by /"),
        ("shoes/red.jpg", "there is 'Shoes/Red.JPG'"),
        ("Shoes", "is a folder"),
        ("s3://bucket/a.jpg", "is a URL: python -m training download"),
        ("data:image/png;base64,AAAA", "holds the image itself"),
        ("DATA:image/png;base64,AAAA", "holds the image itself"),
        ("x" * 300 + ".jpg", "(304 characters): File name too long"),
        ("a/" * 3000 + "a.jpg", "File name too long"),
        ("b.jpg", "there is no file 'b.jpg' in "),
        ("a{0}.jpg", "there is no file 'a{0}.jpg' in "),
    ],
)
def test_the_reason_helps(images, path, why):
    assert why in check(images, path)[1]


def test_an_absolute_path_inside_is_shown_as_it_should_be(images):
    why = check(images, f"{images}/Shoes/Red.JPG")[1]
    assert why.endswith("is an absolute path: give 'Shoes/Red.JPG'")
