"""Images of an inventory: deterministic, by advertiser, in the colours that they claim."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulation.drawing.inventory import LIGHTS, TYPE_SHARES
from simulation.drawing.paint import COLOUR_CLASSES, PAINTS, sample_paint, to_lab
from simulation.drawing.sampling import colour_of
from simulation.render import MAKES, RenderOptions, describe, render_catalogue, render_image

SIZE = 64
TWELVE = (
    "black", "blue", "brown", "burgundy", "green", "grey", "orange", "pink", "purple", "red",
    "white", "yellow",
)  # fmt: skip


def _rows(count: int, seed: int = 0) -> list[dict]:
    return [describe("inventory", index, seed=seed)[1] for index in range(count)]


def test_same_arguments_same_image() -> None:
    for index in range(0, 60, 5):
        one, row = render_image("inventory", index, seed=3, size=96)
        two, again = render_image("inventory", index, seed=3, size=96)
        assert one.shape == (96, 96, 3)
        assert one.dtype == np.uint8
        assert one.tobytes() == two.tobytes()
        assert row == again


@pytest.mark.parametrize("size", [64, 70, 333, 1024])
def test_every_size(size: int) -> None:
    assert render_image("inventory", 1, seed=0, size=size)[0].shape == (size, size, 3)


def test_content_does_not_depend_on_size() -> None:
    distances = []
    for index in range(8):
        small, row = render_image("inventory", index, seed=0, size=96)
        large, row_large = render_image("inventory", index, seed=0, size=192)
        other, _ = render_image("inventory", index + 400, seed=0, size=96)
        assert row == row_large
        halved = cv2.resize(large, (96, 96), interpolation=cv2.INTER_AREA).astype(int)
        distances.append((np.abs(halved - small).mean(), np.abs(halved - other).mean()))
    same, different = np.mean(distances, axis=0)
    assert 4 * same < different


def test_catalogue_does_not_depend_on_its_count(tmp_path: Path) -> None:
    rows = {}
    for count in (8, 20):
        folder = tmp_path / str(count)
        render_catalogue("inventory", count, folder, RenderOptions(seed=2, size=SIZE, workers=1))
        with (folder / "manifest.csv").open(newline="") as file:
            rows[count] = list(csv.DictReader(file))
    assert rows[20][:8] == rows[8]
    for row in rows[8]:
        path = row["relative_im_path"]
        assert (tmp_path / "8" / path).read_bytes() == (tmp_path / "20" / path).read_bytes()
    columns = ["relative_im_path", "type", "colour", "advertiser", "light", "make"]
    assert list(rows[8][0])[:6] == columns


def test_types_and_colours_in_their_shares() -> None:
    rows = _rows(2080)
    types = Counter(row["type"] for row in rows)
    assert set(types) == set(TYPE_SHARES)
    for kind, share in TYPE_SHARES.items():
        assert abs(types[kind] / 2080 - share) < 4 * np.sqrt(share * (1 - share) / 2080)
    assert {row["colour"] for row in rows if row["type"] == "placeholder"} == {""}
    for kind in ("dealer", "stock"):
        colours = Counter(row["colour"] for row in rows if row["type"] == kind)
        assert tuple(sorted(colours)) == TWELVE == COLOUR_CLASSES
        expected = types[kind] / 12
        assert all(abs(n - expected) < 4.5 * np.sqrt(expected) for n in colours.values())
    assert {row["light"] for row in rows if row["type"] == "dealer"} == set(LIGHTS)
    assert {row["make"] for row in rows} == {make.name for make in MAKES["car"]}


def test_advertisers_have_12_to_40_images_that_share_their_look() -> None:
    specs = [describe("inventory", index, seed=1)[0] for index in range(208)]
    groups = defaultdict(list)
    for spec in specs:
        groups[spec.advertiser.name].append(spec.advertiser)
    assert sorted(map(len, groups.values())) == [12, 16, 20, 24, 28, 32, 36, 40]
    assert all(len(set(looks)) == 1 for looks in groups.values())
    assert next(iter(groups)) == "dealer_000"
    assert len({looks[0].camera for looks in groups.values()}) == 8


@pytest.mark.parametrize("name", COLOUR_CLASSES)
def test_paints_are_nearest_to_their_own_class(name: str) -> None:
    rng = np.random.default_rng(0)
    drawn = to_lab(np.array([sample_paint(rng, name) for _ in range(200)], np.uint8))
    paints = np.concatenate([np.array(p, np.uint8) for p in PAINTS.values()])
    owners = np.array([n for n, p in PAINTS.items() for _ in p])
    distance = np.linalg.norm(drawn[:, None] - to_lab(paints)[None], axis=2)
    assert (owners[distance.argmin(1)] == name).mean() > 0.9
    assert np.ptp(drawn[:, 0]) > 5  # shades, not one paint


def test_the_body_of_a_stock_picture_has_its_paint() -> None:
    seen = 0
    for index in range(160):
        row = describe("inventory", index, seed=4)[1]
        if row["type"] != "stock" or row["colour"] in ("white", "pink"):  # much like the ground
            continue
        image, row = render_image("inventory", index, seed=4, size=128)
        paint = to_lab(np.array([colour_of(str(row["paint"]))], np.uint8))[0]
        pixels = to_lab(image.reshape(-1, 3))
        near = np.linalg.norm(pixels - paint, axis=1) < 20
        assert near.mean() > 0.015, index
        assert np.linalg.norm(pixels[near].mean(0) - paint) < 14, index
        seen += 1
    assert seen > 15
