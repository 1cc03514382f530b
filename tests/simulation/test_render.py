"""The renderer of catalogues: equal bytes for equal seeds, a uniform studio, resumable."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from augrank.errors import DataError
from simulation.drawing.canvas import STUDIO
from simulation.drawing.car import CAR_RANGES
from simulation.drawing.sneaker import SNEAKER_RANGES
from simulation.render import MAKES, Kind, RenderOptions, render_catalogue, render_image
from tests.support.full_disk import full_disk

KINDS: tuple[Kind, ...] = ("sneaker", "car")
SIZE = 64


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _box(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return x, y, width, height of what differs clearly from the studio (not the shadow)."""
    away = np.abs(image.astype(int) - STUDIO)
    coloured = np.ptp(image.astype(int), axis=2) > 12
    seen = coloured | (away.max(axis=2) > 90)
    x, y, w, h = cv2.boundingRect(seen.astype(np.uint8))
    return x, y, w, h


@pytest.mark.parametrize("kind", KINDS)
def test_same_arguments_same_image(kind: Kind) -> None:
    one, row = render_image(kind, 7, seed=3, size=128)
    two, row_again = render_image(kind, 7, seed=3, size=128)
    assert one.shape == (128, 128, 3)
    assert one.dtype == np.uint8
    assert one.tobytes() == two.tobytes()
    assert row == row_again


@pytest.mark.parametrize("kind", KINDS)
def test_other_seed_or_index_other_image(kind: Kind) -> None:
    images = {
        render_image(kind, index, seed=seed, size=SIZE)[0].tobytes()
        for seed in (0, 1)
        for index in range(60)
    }
    assert len(images) == 120


@pytest.mark.parametrize("kind", KINDS)
def test_design_does_not_depend_on_size(kind: Kind) -> None:
    small, row = render_image(kind, 5, seed=0, size=128)
    large, row_large = render_image(kind, 5, seed=0, size=256)
    other, _ = render_image(kind, 6, seed=0, size=128)
    assert row == row_large
    halved = cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA).astype(int)
    assert 4 * np.abs(halved - small).mean() < np.abs(halved - other).mean()


def test_workers_do_not_change_the_catalogue(tmp_path: Path) -> None:
    alone = render_catalogue(
        "sneaker", 70, tmp_path / "a", RenderOptions(seed=1, size=SIZE, workers=1)
    )
    pair = render_catalogue(
        "sneaker", 70, tmp_path / "b", RenderOptions(seed=1, size=SIZE, workers=2)
    )
    assert (alone.count, alone.skipped) == (pair.count, pair.skipped) == (70, 0)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert len(_files(tmp_path / "a")) == 72


@pytest.mark.parametrize("kind", KINDS)
def test_manifest_says_what_is_drawn(kind: Kind, tmp_path: Path) -> None:
    report = render_catalogue(kind, 12, tmp_path, RenderOptions(seed=2, size=SIZE, workers=1))
    with report.manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:7] == [
        "relative_im_path",
        "name",
        "class_name",
        "make",
        "kind",
        "product_type",
        "year",
    ]
    types = SNEAKER_RANGES if kind == "sneaker" else CAR_RANGES
    for index, row in enumerate(rows):
        image, record = render_image(kind, index, seed=2, size=SIZE)
        assert row == {name: str(value) for name, value in record.items()}
        assert row["product_type"] in types
        assert row["make"] in {make.name for make in MAKES[kind]}
        assert 1995 <= int(row["year"]) <= 2024
        stored = cv2.imread(str(tmp_path / row["relative_im_path"]), cv2.IMREAD_COLOR_RGB)
        assert stored is not None
        assert np.abs(stored.astype(int) - image).mean() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_studio(kind: Kind) -> None:
    for index in np.random.default_rng(0).integers(0, 60_000, 50):
        image, _ = render_image(kind, int(index), seed=0, size=128)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (border == STUDIO).all(), f"index {index}"
        x, y, w, h = _box(image)
        assert w / h > 1.2, f"index {index}"
        assert 0.78 <= w / 128 <= 0.9, f"index {index}"
        assert abs(x + w / 2 - 64) <= 5, f"index {index}"
        assert abs(y + h / 2 - 64) <= 8, f"index {index}"


def test_resume_draws_only_what_is_missing(tmp_path: Path) -> None:
    render_catalogue("car", 10, tmp_path, RenderOptions(size=SIZE, workers=1))
    before = _files(tmp_path)
    kept = tmp_path / "images" / "car_000003.jpg"
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "images" / "car_000004.jpg").unlink()
    (tmp_path / "manifest.csv").unlink()
    seen: list[int] = []
    report = render_catalogue(
        "car", 10, tmp_path, RenderOptions(size=SIZE, workers=1), progress=seen.append
    )
    assert report.skipped == 9
    assert seen == [10]
    assert kept.stat().st_mtime_ns == stamp
    assert _files(tmp_path) == before


def test_more_of_the_same_catalogue(tmp_path: Path) -> None:
    render_catalogue("car", 3, tmp_path, RenderOptions(size=SIZE, workers=1))
    assert render_catalogue("car", 5, tmp_path, RenderOptions(size=SIZE, workers=1)).skipped == 3


def test_other_catalogue_in_the_folder(tmp_path: Path) -> None:
    render_catalogue("car", 2, tmp_path, RenderOptions(seed=0, size=SIZE, workers=1))
    with pytest.raises(ValueError, match=r"expected .*'seed': 1.* got .*'seed': 0.*--out"):
        render_catalogue("car", 2, tmp_path, RenderOptions(seed=1, size=SIZE, workers=1))
    (tmp_path / "render.json").unlink()
    with pytest.raises(ValueError, match="without it: choose another --out"):
        render_catalogue("car", 2, tmp_path, RenderOptions(seed=0, size=SIZE, workers=1))


def test_damaged_note(tmp_path: Path) -> None:
    render_catalogue("car", 1, tmp_path, RenderOptions(size=SIZE, workers=1))
    note = tmp_path / "render.json"
    assert json.loads(note.read_text())["size"] == SIZE
    note.write_text("{")
    with pytest.raises(ValueError, match="got no JSON"):
        render_catalogue("car", 1, tmp_path, RenderOptions(size=SIZE, workers=1))


@pytest.mark.parametrize("count", [0, 60_001])
def test_count_out_of_range(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"1 to 60000, got {count}"):
        render_catalogue("car", count, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_other_arguments_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sneaker or car or .*, got 'boat'"):
        render_catalogue("boat", 1, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="64 to 1024 pixels, got 16"):
        render_image("car", 0, seed=0, size=16)
    with pytest.raises(ValueError, match="1 worker or more, got 0"):
        render_catalogue("car", 1, tmp_path, RenderOptions(workers=0))
    with pytest.raises(ValueError, match="seed of 0 or more, got -1"):
        render_image("car", 0, seed=-1, size=SIZE)
    with pytest.raises(ValueError, match="index of 0 or more, got -1"):
        render_image("car", -1, seed=0, size=SIZE)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_reported_and_leaves_only_complete_images(
    tmp_path: Path, workers: int
) -> None:
    expected = render_catalogue("car", 130, tmp_path / "a", RenderOptions(size=SIZE, workers=1))
    sizes = sorted(path.stat().st_size for path in (tmp_path / "a" / "images").iterdir())
    out = tmp_path / "b"
    with (
        full_disk(sizes[-2]),
        pytest.raises(DataError, match=r"b cannot be written: .*File too large.*to continue"),
    ):
        render_catalogue("car", 130, out, RenderOptions(size=SIZE, workers=workers))
    there = _files(out / "images")
    assert set(there.items()) < set(_files(tmp_path / "a" / "images").items())
    assert sorted(path.name for path in out.iterdir()) == ["images", "render.json"]
    again = render_catalogue("car", 130, out, RenderOptions(size=SIZE, workers=1))
    assert (again.count, again.skipped) == (expected.count, len(there))
    assert _files(out) == _files(tmp_path / "a")


def test_an_output_that_is_not_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"file cannot be written.*another --out"):
        render_catalogue("car", 1, tmp_path / "file", RenderOptions(size=SIZE))
    assert (tmp_path / "file").read_text() == "mine"


def test_empty_images_of_a_power_cut_are_drawn_again(tmp_path: Path) -> None:
    render_catalogue("car", 3, tmp_path, RenderOptions(size=SIZE, workers=1))
    before = _files(tmp_path)
    (tmp_path / "images" / "car_000001.jpg").write_bytes(b"")
    assert render_catalogue("car", 3, tmp_path, RenderOptions(size=SIZE, workers=1)).skipped == 2
    assert _files(tmp_path) == before
