"""The specification of a photo that a customer sends with a review, and its random sampling.

The class follows from what can be seen:

* package: a parcel is the subject. It may be open, and a product may be printed on it.
* product: a whole product outside of a parcel, without a person; a hand or a parcel may be beside
  it.
* full-length: a person whose head and at least one shoe can be seen.
* half-length: any other view of a person: cut anywhere between waist and ankle, legs or feet
  without the head, or with both feet behind something.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulation.drawing.camera import Camera, Light, sample_camera, sample_light
from simulation.drawing.figure import (
    Body,
    Outfit,
    Person,
    sample_body,
    sample_outfit,
    sample_pose,
)
from simulation.drawing.goods import PRODUCTS, Goods, Package, extent, sample_goods, sample_package
from simulation.drawing.review_view import Occluder, Spot, feet_from_above, sample_view
from simulation.drawing.sampling import group_of, pick
from simulation.drawing.scene import Home, Setting, sample_home

REVIEW_SHARES = {"package": 0.2, "product": 0.3, "full-length": 0.25, "half-length": 0.25}

UPLOADER_SIZES = (1, 2, 3, 4, 5, 6)
"""Numbers of images that an uploader sends."""


@dataclass(frozen=True)
class Uploader:
    """A customer, who has one body, one home and one camera."""

    name: str
    body: Body
    home: Home
    camera: Camera


@dataclass(frozen=True)
class Review:
    """The specification of one photo."""

    kind: str
    uploader: Uploader
    product: str
    framing: str
    subject: Person | Package | Goods
    spot: Spot
    setting: Setting
    occluder: Occluder
    companion: str
    """none, box or hand"""
    tilt: float
    light: Light
    blur: tuple[float, float]
    table: bool
    """Whether the ground is a wooden table."""
    head_visible: bool
    feet_visible: int
    seed: int
    """Of details and noise."""


def sample_uploader(key: tuple[int, int], number: int) -> Uploader:
    """Sample a customer by its number."""
    rng = np.random.default_rng([*key, number, 1])
    home = sample_home(rng)
    return Uploader(f"user_{number:05d}", sample_body(rng), home, sample_camera(rng))


def sample_review(key: tuple[int, int], index: int) -> Review:
    """Sample the specification of one photo.

    Args:
        key: Seed of the catalogue.
        index: Position in the catalogue; neighbours share their uploader.
    """
    uploader = sample_uploader(key, group_of(key, index, UPLOADER_SIZES))
    rng = np.random.default_rng([*key, index])
    kind = str(rng.choice(list(REVIEW_SHARES), p=list(REVIEW_SHARES.values())))
    sample = {"package": _sample_package, "product": _sample_product}.get(kind, _sample_person)
    return sample(rng, kind, uploader)


def _blur(rng: np.random.Generator, scale: float = 1.0) -> tuple[float, float]:
    """Sample defocus and motion, less of them where the subject is small."""
    defocus = float(rng.exponential(0.004)) if rng.random() < 0.4 else 0.0
    motion = float(rng.uniform(0.01, 0.03)) if rng.random() < 0.1 else 0.0
    return min(defocus, 0.011) * min(scale, 1.0), motion * min(scale, 1.0)


def _tilt(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(0, 4), -10, 10))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def _sample_package(rng: np.random.Generator, kind: str, uploader: Uploader) -> Review:
    package = sample_package(rng)
    place = "top" if package.pitch > 55 else pick(rng, ("room", "room", "street"))
    scale = float(rng.uniform(0.36, 0.78))
    middle = float(rng.uniform(0.55, 0.75))
    horizon = middle - float(rng.uniform(0.15, 0.55)) * scale
    x = float(rng.uniform(0.36, 0.64))
    y = middle if place != "top" else float(rng.uniform(0.5, 0.68))
    return Review(
        kind=kind,
        uploader=uploader,
        product="parcel" if package.form != "shoebox" else "shoe box",
        framing="opened" if package.opened else "closed",
        subject=package,
        spot=Spot(x, y, scale),
        setting=Setting(
            place, horizon, float(rng.uniform(1.2, 2.6)), float(rng.uniform(-0.5, 0.5))
        ),
        occluder=Occluder("none"),
        companion="hand" if rng.random() < 0.12 else "none",
        tilt=_tilt(rng),
        light=sample_light(rng),
        blur=_blur(rng),
        table=bool(rng.random() < 0.35),
        head_visible=False,
        feet_visible=0,
        seed=_seed(rng),
    )


def _sample_product(rng: np.random.Generator, kind: str, uploader: Uploader) -> Review:
    goods = sample_goods(rng, pick(rng, PRODUCTS))
    place = {"flat": "top", "folded": "top", "hanging": "room"}.get(goods.show, "")
    place = place or pick(rng, ("room", "room", "street", "top"))
    low, high, half = extent(goods)
    scale = goods.width * 0.95 / max(high - low, 2 * half)
    x = 0.5 + float(rng.uniform(-1, 1)) * (0.48 - half * scale)
    highest, lowest = 0.02 + high * scale, 0.98 + low * scale
    standing = goods.show in ("pair", "single", "standing")
    y = highest + float(rng.uniform(0.4 if standing else 0.15, 0.9)) * (lowest - highest)
    horizon = float(rng.uniform(0.15, 0.85)) * y if standing else float(rng.uniform(0.86, 1.2))
    beside = standing or goods.show == "folded"
    companion = pick(
        rng, ("none", "none", "box", "hand") if beside else ("none", "none", "none", "hand")
    )
    return Review(
        kind=kind,
        uploader=uploader,
        product=goods.product,
        framing=goods.show,
        subject=goods,
        spot=Spot(x, y, scale),
        setting=Setting(
            place, horizon, float(rng.uniform(0.9, 2.2)), float(rng.uniform(-0.5, 0.5))
        ),
        occluder=Occluder("none"),
        companion=companion,
        tilt=_tilt(rng),
        light=sample_light(rng),
        blur=_blur(rng),
        table=bool(rng.random() < 0.3),
        head_visible=False,
        feet_visible=0,
        seed=_seed(rng),
    )


def _sample_person(rng: np.random.Generator, kind: str, uploader: Uploader) -> Review:
    mirror = bool(rng.random() < 0.35)
    feet = kind == "half-length" and not mirror and bool(rng.random() < 0.1)
    pose = sample_pose(rng, mirror=mirror)
    carries = pose.view == "front" and not mirror and not feet and bool(rng.random() < 0.12)
    if carries:
        pose = replace(pose, arms=((20, -62), (20, -62)))
    person = Person(uploader.body, sample_outfit(rng), pose)
    tilt = _tilt(rng)
    view = feet_from_above(rng) if feet else sample_view(rng, kind, person.joints, tilt, mirror)
    place = "top" if feet else "room" if mirror else pick(rng, ("room", "room", "street"))
    horizon = view.spot.y - view.spot.scale * float(rng.uniform(0.03, 0.2))
    return Review(
        kind=kind,
        uploader=uploader,
        product=_worn(rng, person.outfit, view.framing),
        framing=view.framing,
        subject=person,
        spot=view.spot,
        setting=Setting(place, horizon, view.spot.scale, float(rng.uniform(-0.3, 0.3))),
        occluder=view.occluder,
        companion="box" if carries else "none",
        tilt=tilt,
        light=sample_light(rng),
        blur=_blur(rng, view.spot.scale),
        table=False,
        head_visible=view.head,
        feet_visible=view.feet,
        seed=_seed(rng),
    )


def _worn(rng: np.random.Generator, outfit: Outfit, framing: str) -> str:
    """Return the reviewed piece of an outfit, one that can be seen."""
    bottom = "dress" if outfit.top == "dress" else outfit.bottom
    if framing in ("legs", "feet"):
        return pick(rng, (bottom, outfit.shoes))
    return pick(rng, (outfit.top, outfit.top, bottom if framing == "full" else outfit.top))


def describe_review(r: Review) -> dict[str, str | int | float]:
    """Return the columns of a photo."""
    return {
        "kind": r.kind,
        "uploader": r.uploader.name,
        "product": r.product,
        "framing": r.framing,
        "place": r.setting.place,
        "light": r.light.name,
        "occluded": r.occluder.name,
        "companion": r.companion,
        "tilt": round(r.tilt, 2),
        "head_visible": int(r.head_visible),
        "feet_visible": r.feet_visible,
    }
