"""Photos of reviews: deterministic, by uploader, and never against the rule of their class."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulation.drawing.figure import Person
from simulation.drawing.goods import Goods, Package
from simulation.drawing.review import REVIEW_SHARES, Review, sample_review
from simulation.drawing.stage import turned
from simulation.render import RenderOptions, describe, render_catalogue, render_image

SIZE = 64


@cache
def _specs(count: int, seed: int = 0) -> list[Review]:
    return [sample_review((seed, 2), index) for index in range(count)]


def test_same_arguments_same_image() -> None:
    for index in range(12):
        one, row = render_image("review", index, seed=3, size=96)
        two, again = render_image("review", index, seed=3, size=96)
        assert one.shape == (96, 96, 3)
        assert one.dtype == np.uint8
        assert one.tobytes() == two.tobytes()
        assert row == again
    other = render_image("review", 0, seed=4, size=96)[0]
    assert other.tobytes() != render_image("review", 0, seed=3, size=96)[0].tobytes()


def test_content_does_not_depend_on_size() -> None:
    distances = []
    for index in range(8):
        small, row = render_image("review", index, seed=0, size=96)
        large, row_large = render_image("review", index, seed=0, size=192)
        other, _ = render_image("review", index + 40, seed=0, size=96)
        assert row == row_large
        halved = cv2.resize(large, (96, 96), interpolation=cv2.INTER_AREA).astype(int)
        distances.append((np.abs(halved - small).mean(), np.abs(halved - other).mean()))
    same, different = np.mean(distances, axis=0)
    assert 4 * same < different


@pytest.mark.parametrize("size", [64, 70, 333, 1024])
def test_every_size(size: int) -> None:
    image, _ = render_image("review", 5, seed=0, size=size)
    assert image.shape == (size, size, 3)
    assert image.std() > 5


def test_catalogue_does_not_depend_on_its_count(tmp_path: Path) -> None:
    for count in (8, 20):
        options = RenderOptions(seed=2, size=SIZE, workers=1)
        render_catalogue("review", count, tmp_path / str(count), options)
    rows = {}
    for count in (8, 20):
        with (tmp_path / str(count) / "manifest.csv").open(newline="") as file:
            rows[count] = list(csv.DictReader(file))
    assert rows[20][:8] == rows[8]
    for row in rows[8]:
        path = row["relative_im_path"]
        assert (tmp_path / "8" / path).read_bytes() == (tmp_path / "20" / path).read_bytes()
    assert list(rows[8][0])[:4] == ["relative_im_path", "kind", "uploader", "product"]
    assert {"framing", "light", "occluded"} < set(rows[8][0])
    assert all(len(set(row) & {None}) == 0 for row in rows[20])


def test_every_class_in_its_share() -> None:
    counts = Counter(r.kind for r in _specs(1200))
    assert set(counts) == set(REVIEW_SHARES)
    for kind, share in REVIEW_SHARES.items():
        assert abs(counts[kind] / 1200 - share) < 4 * np.sqrt(share * (1 - share) / 1200)
    assert sum(REVIEW_SHARES.values()) == 1


def test_uploaders_send_one_to_six_images_that_share_their_look() -> None:
    specs = _specs(21 * 12)
    groups = defaultdict(list)
    for r in specs:
        groups[r.uploader.name].append(r)
    assert Counter(map(len, groups.values())) == dict.fromkeys(range(1, 7), 12)
    assert list(groups)[:3] == ["user_00000", "user_00001", "user_00002"]
    for images in groups.values():
        assert all(r.uploader == images[0].uploader for r in images)
        assert all(r.subject.body == images[0].uploader.body for r in images if _person(r))
    cameras = {images[0].uploader.camera for images in groups.values()}
    homes = {images[0].uploader.home for images in groups.values()}
    assert len(cameras) == len(homes) == len(groups)
    # Runs of indices, so that a prefix of a catalogue has whole uploaders.
    names = [r.uploader.name for r in specs]
    assert names == sorted(names)


def _person(r: Review) -> bool:
    return isinstance(r.subject, Person)


def _shown(r: Review, points: np.ndarray) -> np.ndarray:
    """Return which points of a person are in the frame and not covered, anew."""
    placed = points * (r.spot.scale, -r.spot.scale) + (r.spot.x, r.spot.y)
    seen = turned(placed, r.tilt)
    inside = ((seen > 0) & (seen < 1)).all(1)
    if r.occluder.name == "none":
        return inside
    return inside & ~r.occluder.covers(placed)


def test_full_length_shows_the_head_and_a_shoe_and_nothing_else_does() -> None:
    framings = Counter()
    for r in _specs(1200):
        assert isinstance(r.subject, Package) == (r.kind == "package")
        assert isinstance(r.subject, Goods) == (r.kind == "product")
        if not isinstance(r.subject, Person):
            assert not r.head_visible
            assert r.feet_visible == 0
            continue
        if r.framing == "feet":  # from above, which joints do not describe
            assert (r.kind, r.head_visible, r.feet_visible) == ("half-length", False, 2)
            continue
        joints = r.subject.joints
        head = _shown(r, joints.head_outline)
        feet = [_shown(r, joints.foot_outline(i)) for i in (0, 1)]
        framings[r.framing] += 1
        if r.kind == "full-length":
            assert head.all()
            assert any(f.all() for f in feet)
            assert r.head_visible
            assert r.feet_visible >= 1
        else:
            boots = [_shown(r, joints.boot_top(i)) for i in (0, 1)]
            assert not (head.any() and any(f.any() for f in [*feet, *boots]))
            assert head.sum() >= 3 or any(f.all() for f in feet)
    assert min(framings[name] for name in ("full", "cut", "legs", "behind")) > 20


def test_both_sides_of_the_rule_come_close_to_it() -> None:
    people = [r for r in _specs(1200) if isinstance(r.subject, Person)]
    full = [r for r in people if r.kind == "full-length"]
    half = [r for r in people if r.kind == "half-length"]
    assert np.mean([r.feet_visible == 1 for r in full]) > 0.03
    assert np.mean([r.spot.scale < 0.5 for r in full]) > 0.1
    below_knee = [(r.spot.y - 1) / r.spot.scale for r in half if r.framing == "cut"]
    assert np.mean(np.array(below_knee) < 0.25) > 0.1


def test_describe_needs_no_drawing() -> None:
    spec, row = describe("review", 9, seed=5)
    assert row == render_image("review", 9, seed=5, size=SIZE)[1]
    assert row["kind"] == spec.kind
