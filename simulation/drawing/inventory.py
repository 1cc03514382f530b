"""The specification of an image of a dealer's inventory, and its random sampling.

The class follows from how the image is made:

* dealer: a photo of a vehicle on a lot or in a showroom.
* stock: a computer-made picture of a vehicle on an empty ground.
* placeholder: no picture of this vehicle: a notice, a logo, a silhouette, a plain colour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulation.drawing.camera import Camera, Light, sample_camera
from simulation.drawing.car import CAR_HEADLIGHTS, CAR_RANGES, Car, sample_car
from simulation.drawing.figure import cloth
from simulation.drawing.paint import COLOUR_CLASSES, hexadecimal, sample_paint
from simulation.drawing.sampling import COLOURS, Colour, group_of, hsv, pick

TYPE_SHARES = {"dealer": 0.6, "stock": 0.25, "placeholder": 0.15}

ADVERTISER_SIZES = (12, 16, 20, 24, 28, 32, 36, 40)
"""Numbers of images of an advertiser."""

LOTS = ("asphalt", "asphalt", "concrete", "gravel", "paving")
BACKDROPS = ("building", "building", "trees", "fence", "sky")
BANNERS = ("none", "none", "bottom", "corner", "top", "frame", "watermark")
NOTICES = (
    "PHOTO COMING SOON", "NO IMAGE", "IMAGE NOT AVAILABLE", "PHOTOS COMING SOON", "ON ORDER",
    "IN TRANSIT", "AWAITING PHOTO", "NO PHOTO",
)  # fmt: skip
PLACEHOLDERS = ("text", "text", "silhouette", "silhouette", "logo", "plain", "order", "icon")
STOCK_GROUNDS = ("white", "white", "gradient", "reflection", "horizon")

LIGHTS: dict[str, tuple[tuple[float, float, float], tuple[float, float], float, float]] = {
    "noon": ((1.03, 1.0, 0.94), (0.95, 1.2), 0.03, 1.06),
    "overcast": ((0.95, 0.99, 1.05), (0.72, 1.0), 0.05, 0.82),
    "dusk": ((1.04, 0.9, 0.96), (0.4, 0.66), 0.15, 0.9),
    "sodium": ((1.12, 0.87, 0.52), (0.45, 0.74), 0.28, 0.95),
    "showroom": ((1.03, 1.0, 0.95), (0.85, 1.08), 0.08, 1.0),
}
"""Of each light: gains, range of the exposure, vignette, contrast."""


@dataclass(frozen=True)
class Advertiser:
    """A dealer: the place, the banners and the camera that its images share."""

    name: str
    sign: str
    camera: Camera
    lot: str
    lot_colour: Colour
    backdrop: str
    wall: Colour
    banner: str
    banner_colour: Colour
    placeholder: str
    notice: str
    stock: str
    mirror: bool
    plate: str
    seed: int


@dataclass(frozen=True)
class Inventory:
    """The specification of one image."""

    type: str
    colour: str
    """One of `COLOUR_CLASSES`; empty for placeholders."""
    advertiser: Advertiser
    make: str
    car: Car
    light: Light
    view: tuple[float, float, float, float]
    """Centre of the car, its length, and the height of the ground under it, frame units."""
    warp: tuple[float, float]
    """How much taller the front is than the rear, and how much the car slopes."""
    mirror: bool
    blur: tuple[float, float]
    banner: bool
    others: tuple[Car, ...]
    """Cars behind."""
    form: int
    seed: int


def sample_advertiser(key: tuple[int, int], number: int) -> Advertiser:
    """Sample a dealer by its number."""
    rng = np.random.default_rng([*key, number, 1])
    names = ("Auto", "Motors", "Cars", "Drive", "Garage")
    first = ("North", "City", "Lake", "Royal", "Prime", "Alba", "Metro", "Star")
    grey = int(rng.integers(70, 170))
    tint = rng.integers(-8, 9, 3)
    return Advertiser(
        name=f"dealer_{number:03d}",
        sign=f"{pick(rng, first)} {pick(rng, names)}",
        camera=sample_camera(rng),
        lot=pick(rng, LOTS),
        lot_colour=(grey + int(tint[0]), grey + int(tint[1]), grey + int(tint[2])),
        backdrop=pick(rng, BACKDROPS),
        wall=hsv(rng.random(), rng.uniform(0, 0.35), rng.uniform(0.4, 0.95)),
        banner=pick(rng, BANNERS),
        banner_colour=cloth(rng),
        placeholder=pick(rng, PLACEHOLDERS),
        notice=pick(rng, NOTICES),
        stock=pick(rng, STOCK_GROUNDS),
        mirror=bool(rng.random() < 0.5),
        plate=pick(rng, ("white", "white", "yellow", "sign", "none")),
        seed=int(rng.integers(1 << 30)),
    )


def _sample_car(rng: np.random.Generator, make: tuple[str, ...], paint: Colour) -> Car:
    """Sample a car of one paint: no two-tone, no stripes in most cases."""
    style = make[int(rng.integers(len(make)))]
    year, lamp = int(rng.integers(1995, 2025)), pick(rng, CAR_HEADLIGHTS)
    car = sample_car(rng, style, year=year, palette=tuple(COLOURS), signature=lamp)
    body = hexadecimal(paint)
    roof = pick(rng, (body,) * 8 + ("black",))
    stripe = car.stripe if rng.random() < 0.1 and car.stripe in ("low", "high", "twin") else "none"
    return replace(car, body_colour=body, roof_colour=roof, two_tone=False, stripe=stripe)


def _sample_light(rng: np.random.Generator, kind: str) -> Light:
    if kind != "dealer":
        return Light("studio", (1.0, 1.0, 1.0), 1.0, 1.0, (0.0, 0.0), 0.0)
    name = pick(rng, tuple(LIGHTS))
    gains, exposure, vignette, contrast = LIGHTS[name]
    r, g, b = (float(gain * rng.normal(1, 0.03)) for gain in gains)
    slope = rng.uniform(-0.08, 0.08, 2)
    bright = float(rng.uniform(*exposure))
    return Light(name, (r, g, b), bright, contrast, (float(slope[0]), float(slope[1])), vignette)


def sample_inventory(
    key: tuple[int, int], index: int, makes: dict[str, tuple[str, ...]]
) -> Inventory:
    """Sample the specification of one image.

    Args:
        key: Seed of the catalogue.
        index: Position in the catalogue; neighbours share their advertiser.
        makes: Product types of each make.
    """
    advertiser = sample_advertiser(key, group_of(key, index, ADVERTISER_SIZES))
    rng = np.random.default_rng([*key, index])
    kind = str(rng.choice(list(TYPE_SHARES), p=list(TYPE_SHARES.values())))
    colour = pick(rng, COLOUR_CLASSES)
    make = pick(rng, tuple(makes))
    car = _sample_car(rng, makes[make], sample_paint(rng, colour))
    count = int(rng.integers(0, 4)) if kind == "dealer" else 0
    styles = tuple(CAR_RANGES)
    paints = [sample_paint(rng, pick(rng, COLOUR_CLASSES)) for _ in range(count)]
    length = float(rng.uniform(0.62, 0.9) if kind == "dealer" else rng.uniform(0.72, 0.92))
    camera = advertiser.camera
    return Inventory(
        type=kind,
        colour=colour if kind != "placeholder" else "",
        advertiser=replace(advertiser, camera=replace(camera, quality=max(camera.quality, 45))),
        make=make,
        car=car,
        light=_sample_light(rng, kind),
        view=(
            float(rng.uniform(0.46, 0.54)),
            float(rng.uniform(0.42, 0.56)),
            length,
            float(rng.uniform(0.68, 0.8)),
        ),
        warp=(float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.008, 0.008))),
        mirror=advertiser.mirror if rng.random() < 0.75 else not advertiser.mirror,
        blur=(float(rng.exponential(0.0015)) if rng.random() < 0.3 else 0.0, 0.0),
        banner=bool(rng.random() < 0.85),
        others=tuple(_sample_car(rng, styles, paint) for paint in paints),
        form=int(rng.integers(4)),
        seed=int(rng.integers(1 << 30)),
    )


def describe_inventory(r: Inventory) -> dict[str, str | int | float]:
    """Return the columns of an image."""
    shown = r.type != "placeholder"
    return {
        "type": r.type,
        "colour": r.colour,
        "advertiser": r.advertiser.name,
        "light": r.light.name if shown else "",
        "make": r.make,
        "body": r.car.product_type if shown else "",
        "paint": r.car.body_colour if shown else "",
        "banner": r.advertiser.banner if r.type == "dealer" and r.banner else "none",
        "others": len(r.others),
    }
