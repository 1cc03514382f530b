"""The specifications of parcels and of products that lie, stand or hang, and their sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulation.drawing.figure import cloth
from simulation.drawing.sampling import COLOURS, Colour, hsv, pick
from simulation.drawing.sneaker import SNEAKER_ACCENTS, SNEAKER_RANGES, Sneaker, sample_sneaker


@dataclass(frozen=True)
class Package:
    """A parcel; lengths in units of its longest side."""

    form: str
    """box, shoebox or mailer"""
    colour: Colour
    sides: tuple[float, float, float]
    """Width, depth, height."""
    yaw: float
    pitch: float
    """Rotation of the parcel and angle of the camera, degrees."""
    opened: bool
    tape: str
    tape_colour: Colour
    label: bool
    print_: str
    """none, arrows, name or picture"""
    print_colour: Colour
    content: Colour
    dents: int
    """Seed of folds and dents."""


@dataclass(frozen=True)
class Goods:
    """A product without a person."""

    product: str
    """sneakers, bag, tee, shirt, dress, trousers or jacket"""
    show: str
    """pair, single, standing, hanging, flat or folded"""
    colour: Colour
    accent: Colour
    pattern: str
    form: int
    """Which of the cuts."""
    sneaker: Sneaker
    width: float
    """Size, as a share of the largest that fits in the frame."""
    angle: float
    mirror: bool


PACKAGE_FORMS = ("box", "box", "box", "shoebox", "mailer", "mailer")
PRODUCTS = (
    "sneakers",
    "sneakers",
    "sneakers",
    "bag",
    "bag",
    "tee",
    "shirt",
    "dress",
    "trousers",
    "jacket",
)


def sample_package(rng: np.random.Generator) -> Package:
    """Sample a parcel."""
    form = pick(rng, PACKAGE_FORMS)
    kraft = hsv(rng.uniform(0.07, 0.1), rng.uniform(0.3, 0.5), rng.uniform(0.55, 0.8))
    plain = hsv(rng.random(), rng.uniform(0, 0.1), rng.uniform(0.15, 0.95))
    colour = {"box": kraft if rng.random() < 0.8 else plain, "mailer": plain}.get(form, cloth(rng))
    if form == "mailer" and rng.random() < 0.35:
        colour = kraft if rng.random() < 0.5 else cloth(rng)
    low = {"box": (0.35, 0.95), "shoebox": (0.3, 0.42), "mailer": (0.04, 0.1)}[form]
    depth = (0.5, 0.75) if form == "shoebox" else (0.55, 1.0)
    return Package(
        form=form,
        colour=colour,
        sides=(1.0, float(rng.uniform(*depth)), float(rng.uniform(*low))),
        yaw=float(rng.uniform(-50, 50)),
        pitch=float(rng.uniform(50, 88) if form == "mailer" else rng.uniform(14, 75)),
        opened=form != "mailer" and bool(rng.random() < 0.4),
        tape=pick(rng, ("one", "one", "cross", "none")) if form != "shoebox" else "none",
        tape_colour=hsv(rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.95)),
        label=bool(rng.random() < (0.75 if form != "shoebox" else 0.35)),
        print_=pick(rng, ("none", "none", "arrows", "name", "picture", "name")),
        print_colour=cloth(rng),
        content=cloth(rng),
        dents=int(rng.integers(1 << 30)),
    )


def sample_goods(rng: np.random.Generator, product: str) -> Goods:
    """Sample the looks of a product, one of `PRODUCTS`, and how it is shown."""
    shows = {"sneakers": ("pair", "pair", "single"), "bag": ("standing", "standing", "hanging")}
    show = pick(rng, shows.get(product, ("hanging", "hanging", "flat", "flat", "folded")))
    style = pick(rng, tuple(SNEAKER_RANGES))
    palette, accent = tuple(COLOURS), pick(rng, SNEAKER_ACCENTS)
    year = int(rng.integers(1995, 2025))
    turn = 180 if show == "flat" else 7 if show != "folded" else 30
    return Goods(
        product=product,
        show=show,
        colour=cloth(rng),
        accent=cloth(rng),
        pattern=pick(rng, ("none", "none", "stripes", "logo", "check", "block")),
        form=int(rng.integers(3)),
        sneaker=sample_sneaker(rng, style, year=year, palette=palette, signature=accent),
        width=float(rng.uniform(0.48, 1.0)),
        angle=float(rng.uniform(-turn, turn)),
        mirror=bool(rng.random() < 0.5),
    )


def extent(g: Goods) -> tuple[float, float, float]:
    """Return the lower and upper end and the half width of a product, in its units."""
    if g.product == "sneakers":
        return (-0.05, 0.8, 0.62) if g.show == "pair" else (-0.05, 0.65, 0.52)
    if g.product == "bag":
        return (0.0, (1.14, 0.94, 1.22)[g.form], 0.5)
    if g.show == "folded":
        return (-0.55, 0.55, 0.55)
    tall = g.product in ("dress", "trousers")
    if g.show == "flat":
        return (-0.9, 0.9, 0.9) if tall else (-0.78, 0.78, 0.78)
    return (-0.77 if tall else -0.13, 1.05, 0.52)
