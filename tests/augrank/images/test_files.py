"""Image files in folders."""

import os

import pytest

from augrank.images.files import image_files


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.JPG",
        "shoes/b.png",
        "shoes/._b.png",
        ".hidden/c.png",
        "shoes/.trash/d.png",
        "notes.txt",
        "more.txt",
        "README",
        "e.jpg/f.gif",
    ):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return tmp_path / "images"


def test_images_are_listed_and_others_counted(folder):
    found = image_files(folder)
    assert found.files == ("a.JPG", "e.jpg/f.gif", "shoes/b.png")
    assert found.passed_over == {".txt": 2, "": 1}
    assert found.note == "passed over 2 .txt, 1 without a suffix"
    assert image_files(folder / "shoes").note is None


def test_links_to_folders_are_followed_once(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "g.webp").write_bytes(b"")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    (folder / "again").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "nothing")
    found = image_files(folder)
    assert found.files == ("a.JPG", "e.jpg/f.gif", "linked/g.webp", "shoes/b.png")


def test_a_folder_is_listed_where_it_is_not_under_a_link_to_it(folder, tmp_path):
    (folder / "a-link").symlink_to(folder / "shoes")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "g.webp").write_bytes(b"")
    for name in ("outside-2", "outside-1"):
        (folder / name).symlink_to(elsewhere)
    found = image_files(folder)
    assert found.files == ("a.JPG", "e.jpg/f.gif", "outside-1/g.webp", "shoes/b.png")


def test_names_that_no_manifest_can_hold_are_passed_over(folder):
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"")
    assert image_files(folder).passed_over[".png"] == 1


def test_folders_that_no_manifest_can_hold_are_passed_over(folder):
    odd = folder / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (odd / "q.png").write_bytes(b"")
    found = image_files(folder)
    assert found.files == ("a.JPG", "e.jpg/f.gif", "shoes/b.png")
    assert "1 folders whose names are not UTF-8" in found.note
