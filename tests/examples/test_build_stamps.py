"""Test the labels, licences and images that are made of Tux Paint's stamps."""

import csv
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from augrank.errors import DataError
from examples import build_stamps
from examples.build_stamps import build, colour_of, original_of, read_stamp, unpack

PUBLIC = '<svg><metadata><cc:license rdf:resource="http://x/cc/PublicDomain"/></metadata></svg>'


def add_stamp(package: Path, name: str, colour: str, side: int = 60, text: str = "") -> Path:
    """Write a PNG with a square of one colour on a transparent margin, and its description."""
    path = package / build_stamps.STAMPS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    stamp.paste(colour, (10, 10, 10 + side, 10 + side))
    stamp.save(path)
    if text:
        path.with_suffix(".txt").write_text(f"{text}\nde.utf8=Blau.\n", encoding="utf-8")
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    add_stamp(folder, "animals/birds/pelican", "navy", text="A pelican.")
    add_stamp(folder, "animals/insects/cartoon/bug", "red")
    add_stamp(folder, "food/pizza", "orange", text="A slice of pizza.")
    twin = add_stamp(folder, "clothes/hats/blue_fedora", "blue", side=50)
    twin.with_suffix(".svg").write_text(PUBLIC, encoding="utf-8")
    add_stamp(folder, "household/key", "gold")
    add_stamp(folder, "seasonal/candle", "saddlebrown", side=55)
    add_stamp(folder, "food/fruit/walnut", "maroon", side=20)  # too small
    add_stamp(folder, "naturalforces/light", "white")  # nothing is seen
    add_stamp(folder, "symbols/star", "yellow")  # left out
    add_stamp(folder, "food/fruit/grapes", "purple")  # its licence forbids
    add_stamp(folder, "vehicles/pelican_copy", "navy")  # the same pixels as the pelican
    return folder


def test_manifest(package: Path, tmp_path: Path) -> None:
    rows = build(package, tmp_path / "set", least=1)
    with (tmp_path / "set" / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == rows
    labels = [
        (row["source"], row["style"], row["kind"], row["colour"], row["original"]) for row in rows
    ]
    assert labels == [
        ("animals/birds/pelican.png", "photo", "animal", "blue", "pelican"),
        ("animals/insects/cartoon/bug.png", "cartoon", "animal", "red", "bug"),
        ("clothes/hats/blue_fedora.png", "cartoon", "clothes", "blue", "fedora"),
        ("food/pizza.png", "cartoon", "food", "orange", "pizza"),
        ("household/key.png", "", "household", "yellow", "key"),
        ("seasonal/candle.png", "photo", "", "brown", "candle"),
    ]
    of_package = ("GPL-2.0-or-later", "debian/copyright")
    assert [(row["licence"], row["licence_from"]) for row in rows] == [
        ("CC-BY-SA-2.5", "changelog"),
        of_package,
        ("Public domain", "SVG metadata"),
        of_package,
        of_package,
        of_package,
    ]


def test_images_are_framed_on_white(package: Path, tmp_path: Path) -> None:
    rows = build(package, tmp_path / "set")
    names = [row["relative_im_path"] for row in rows]
    assert sorted(p.name for p in (tmp_path / "set" / "images").iterdir()) == sorted(
        Path(name).name for name in names
    )
    with Image.open(tmp_path / "set" / names[1]) as image:
        assert (image.mode, image.size) == ("RGB", (256, 256))
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert image.getpixel((128, 128)) == (255, 0, 0)


def test_building_twice_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build(package, tmp_path / name)
    one, two = (sorted((tmp_path / name).rglob("*.*")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_rare_kinds_are_blank(package: Path, tmp_path: Path) -> None:
    kinds = {row["source"]: row["kind"] for row in build(package, tmp_path / "set", least=2)}
    assert {source for source, kind in kinds.items() if kind} == {
        "animals/birds/pelican.png",
        "animals/insects/cartoon/bug.png",
    }


@pytest.mark.parametrize(
    ("stem", "original"),
    [
        ("guitar2", "guitar"),
        ("lion-2", "lion"),
        ("fireman240a", "fireman"),
        ("tugboat_mirror", "tugboat"),
        ("eye_green_left", "eye"),
        ("grave-c", "grave"),
        ("purplehat", "hat"),
        ("blueberry", "blueberry"),
        ("blue-and-yellowflag", "flag"),
        ("stoplight_01_red", "stoplight"),
        ("3_earth", "earth"),
        ("747", "747"),
        ("orange", "orange"),
    ],
)
def test_versions_share_an_original(stem: str, original: str) -> None:
    assert original_of(stem) == original


def test_colour_needs_a_clear_majority_or_its_name() -> None:
    stamp = Image.new("RGBA", (10, 10), "red")
    assert colour_of(stamp, set()) == "red"
    stamp.paste("green", (0, 0, 10, 5))
    assert colour_of(stamp, {"a", "flag"}) == ""
    assert colour_of(stamp, {"green", "flag"}) == "green"
    assert colour_of(stamp, {"green", "red"}) == ""
    assert colour_of(stamp, {"blue"}) == ""
    stamp.putalpha(0)
    assert colour_of(stamp, {"green"}) == ""


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ("black", "black"),
        ("white", "white"),
        ("grey", "grey"),
        ("saddlebrown", "brown"),
        ("darkorange", "orange"),
        ("yellow", "yellow"),
        ("forestgreen", "green"),
        ("navy", "blue"),
        ("blueviolet", "purple"),
        ("hotpink", "pink"),
        ("crimson", "red"),
    ],
)
def test_colours_have_their_names(colour: str, name: str) -> None:
    assert colour_of(Image.new("RGBA", (4, 4), colour), set()) == name


def test_folder_without_stamps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no stamps: expected usr/share/tuxpaint/stamps, got"):
        build(unpack(tmp_path, tmp_path), tmp_path / "set")


def test_missing_package(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no package: expected a file, got"):
        unpack(tmp_path / "absent.deb", tmp_path)


def test_missing_tool_for_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    drawing = tmp_path / "ant.svg"
    drawing.write_text(PUBLIC, encoding="utf-8")
    with pytest.raises(DataError, match="expected rsvg-convert"):
        read_stamp(drawing)


def test_command_prints_the_classes(package: Path, tmp_path: Path) -> None:
    command = ["--out", str(tmp_path / "set"), "--package", str(package)]
    app = typer.Typer()
    app.command()(build_stamps.main)
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "6 images of 6 originals" in result.output
    assert "style: cartoon 3, photo 2, (blank) 1" in result.output
