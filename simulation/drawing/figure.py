"""The specification of a person: body, clothing and pose, and their random sampling.

Lengths are in units of the height of the person, y upwards from the ground. Angles are in degrees
from straight down; positive ones point away from the middle of the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np

from simulation.drawing.canvas import Points
from simulation.drawing.sampling import COLOURS, Colour, hsv, pick

SKINS: tuple[Colour, ...] = (
    (250, 222, 202), (240, 202, 174), (228, 182, 148), (208, 158, 120), (182, 130, 92),
    (148, 100, 68), (112, 74, 50), (78, 52, 38),
)  # fmt: skip

HAIRS: tuple[Colour, ...] = (
    (28, 24, 24), (52, 38, 30), (88, 58, 38), (124, 84, 50), (176, 132, 76), (214, 178, 116),
    (150, 68, 36), (150, 148, 146), (206, 204, 200), (150, 60, 90),
)  # fmt: skip

HAIR_STYLES = ("short", "short", "bob", "long", "long", "bun", "curly", "bald")
TOPS = ("tee", "tee", "shirt", "sweater", "hoodie", "jacket", "coat", "tank", "dress", "dress")
BOTTOMS = ("slim", "straight", "wide", "skirt", "shorts", "slim")
PRINTS = ("none", "none", "stripes", "logo", "check", "block")
SHOES = ("sneakers", "sneakers", "boots", "loafers", "sandals")


@dataclass(frozen=True)
class Body:
    """The looks of a person; sizes relative to an average body."""

    skin: Colour
    hair: Colour
    hair_style: str
    breadth: float
    hips: float
    head: float
    legs: float
    beard: bool
    glasses: bool


@dataclass(frozen=True)
class Outfit:
    """What a person wears."""

    top: str
    top_colour: Colour
    inner_colour: Colour
    pattern: str
    sleeves: str
    """none, short or long"""
    hem: float
    """Height of the lower end of a skirt, coat or dress above the ground."""
    bottom: str
    bottom_colour: Colour
    shoes: str
    shoe_colour: Colour
    sole_colour: Colour
    bag: str
    bag_colour: Colour
    hat: str
    hat_colour: Colour


@dataclass(frozen=True)
class Pose:
    """How a person stands; the first limb of a pair is the one at the left of the image."""

    name: str
    view: str
    """front, back or side"""
    arms: tuple[tuple[float, float], tuple[float, float]]
    """Angles of upper arm and forearm."""
    legs: tuple[tuple[float, float], tuple[float, float]]
    """Angles of thigh and shin."""
    lifted: float
    """How far the second foot is raised, as of a walker seen from the front."""
    phone: int
    """The arm that holds a phone, or -1."""


ARMS: dict[str, tuple[float, float]] = {
    "down": (9, 4),
    "loose": (16, 2),
    "hip": (48, -46),
    "raised": (158, 170),
    "wave": (98, 172),
    "phone": (14, -152),
    "phone out": (38, -168),
    "pocket": (26, -14),
    "folded": (14, -78),
    "chin": (20, -162),
    "side": (52, 60),
}

LEGS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "straight": ((3, 2), (3, 2)),
    "wide": ((13, 11), (13, 11)),
    "relaxed": ((2, 1), (11, 3)),
    "crossed": ((-7, -4), (-5, -4)),
    "step": ((5, 3), (2, -2)),
}


def sample_body(rng: np.random.Generator) -> Body:
    """Sample the looks of a person."""
    style = pick(rng, HAIR_STYLES)
    return Body(
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
        hair_style=style,
        breadth=float(rng.uniform(0.86, 1.28)),
        hips=float(rng.uniform(0.88, 1.18)),
        head=float(rng.uniform(0.95, 1.12)),
        legs=float(rng.uniform(-0.02, 0.02)),
        beard=style in ("short", "bald", "curly") and bool(rng.random() < 0.45),
        glasses=bool(rng.random() < 0.22),
    )


def cloth(rng: np.random.Generator) -> Colour:
    """Sample a colour of cloth."""
    if rng.random() < 0.45:
        home = np.array(COLOURS[pick(rng, tuple(COLOURS))]) + rng.integers(-14, 15, 3)
        r, g, b = (int(c) for c in np.clip(home, 10, 250))
        return r, g, b
    if rng.random() < 0.4:
        return hsv(rng.random(), rng.uniform(0, 0.12), rng.uniform(0.12, 0.97))
    return hsv(rng.random(), rng.uniform(0.15, 0.8), rng.uniform(0.2, 0.95))


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Sample what a person wears."""
    top = pick(rng, TOPS)
    sleeves = {"tank": ("none",), "tee": ("short",), "dress": ("none", "short", "long")}
    hem = rng.uniform(0.18, 0.46) if top == "dress" else rng.uniform(0.24, 0.42)
    denim = hsv(rng.uniform(0.58, 0.64), rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.6))
    bottom = pick(rng, BOTTOMS)
    return Outfit(
        top=top,
        top_colour=cloth(rng),
        inner_colour=cloth(rng),
        pattern=pick(rng, PRINTS),
        sleeves=pick(rng, sleeves.get(top, ("long",))),
        hem=float(hem),
        bottom=bottom,
        bottom_colour=denim if bottom != "skirt" and rng.random() < 0.4 else cloth(rng),
        shoes=pick(rng, SHOES),
        shoe_colour=cloth(rng),
        sole_colour=(236, 236, 234) if rng.random() < 0.6 else (52, 48, 46),
        bag=pick(rng, ("none", "none", "none", "hand", "shoulder")),
        bag_colour=cloth(rng),
        hat=pick(rng, ("none",) * 6 + ("cap", "beanie")),
        hat_colour=cloth(rng),
    )


def sample_pose(rng: np.random.Generator, *, mirror: bool) -> Pose:
    """Sample how a person stands; in front of a mirror, with a phone in the hand."""
    view = "front" if mirror else pick(rng, ("front", "front", "front", "front", "side", "back"))
    if view == "side":
        swing, stride = float(rng.uniform(4, 34)), float(rng.uniform(3, 24))
        arms = ((-swing, 6 - swing), (swing, swing + float(rng.uniform(5, 45))))
        legs = ((-stride, -stride - float(rng.uniform(4, 22))), (stride, 0.7 * stride))
        name = "walking" if stride > 10 else "standing"
        return Pose(name, view, arms, legs, 0.0, -1)
    names = list(ARMS)
    free = [n for n in names if not n.startswith("phone")]
    left = "phone" if mirror and rng.random() < 0.5 else "phone out" if mirror else pick(rng, free)
    right = pick(rng, ("down", "loose", "hip", "pocket", "down", *free))
    stand = pick(rng, tuple(LEGS))
    walking = stand == "step"
    wobble = rng.uniform(-5, 5, (2, 2))
    pair = [
        (ARMS[n][0] + w[0], ARMS[n][1] + w[1]) for n, w in zip((left, right), wobble, strict=True)
    ]
    legs = LEGS[stand]
    swap = bool(rng.random() < 0.5)
    if swap:
        pair, legs = pair[::-1], legs[::-1]
    name = (
        "walking"
        if walking
        else "raised"
        if "raised" in (left, right)
        else ("hand on hip" if "hip" in (left, right) else "standing")
    )
    lifted = float(rng.uniform(0.015, 0.06)) if walking else 0.0
    return Pose(name, view, (pair[0], pair[1]), legs, lifted, int(swap) if mirror else -1)


@dataclass(frozen=True)
class Skeleton:
    """Joints of a person, (x, y) each; pairs in the order of `Pose`."""

    shoulders: Points
    elbows: Points
    wrists: Points
    hips: Points
    knees: Points
    ankles: Points
    head: Points
    pelvis: float
    """Height of the hip joints."""
    head_size: tuple[float, float]
    """Half width and half height of the head."""

    @property
    def head_outline(self) -> Points:
        """Extreme points of the head, float64 (4, 2)."""
        w, h = self.head_size
        return np.asarray(self.head + np.array([(-w, 0.0), (w, 0.0), (0.0, h), (0.0, -h)]))

    def boot_top(self, side: int) -> Points:
        """Return the highest point that a shoe can reach, float64 (1, 2)."""
        return np.asarray(self.ankles[side : side + 1] + np.array([0.0, 0.1]))

    def foot_outline(self, side: int) -> Points:
        """Extreme points of a shoe, float64 (4, 2)."""
        x, y = self.ankles[side]
        low, reach = y - 0.05, 0.065
        return np.array([(x - reach, low), (x + reach, low), (x + 0.03, y + 0.01), (x, y)])


def _chain(
    start: Points, angles: tuple[float, float], lengths: tuple[float, float], way: int
) -> tuple[Points, Points]:
    """Return the middle and end joint of a limb."""
    a, b = (radians(v) for v in angles)
    middle = start + lengths[0] * np.array([way * sin(a), -cos(a)])
    return middle, middle + lengths[1] * np.array([way * sin(b), -cos(b)])


def skeleton(body: Body, pose: Pose) -> Skeleton:
    """Return the joints of a person with the lower foot on the ground."""
    side = pose.view == "side"
    ways = (1, 1) if side else (-1, 1)
    hip, shoulder = (0.008, 0.01) if side else (0.046 * body.hips, 0.108 * body.breadth**0.8)
    leg = 0.475 + body.legs
    thigh, shin = leg * 0.51, leg * 0.49
    hips = np.array([(-hip, 0.0), (hip, 0.0)])
    shins = (shin, shin - pose.lifted)
    legs = [_chain(hips[i], pose.legs[i], (thigh, shins[i]), ways[i]) for i in (0, 1)]
    pelvis = 0.045 - min(end[1] for _, end in legs)
    lift = np.array([0.0, pelvis])
    shoulders = np.array([(-shoulder, 0.292), (shoulder, 0.292)]) + lift
    arms = [_chain(shoulders[i], pose.arms[i], (0.158, 0.14), ways[i]) for i in (0, 1)]
    size = (0.049 * body.head, 0.066 * body.head)
    return Skeleton(
        shoulders=shoulders,
        elbows=np.array([a[0] for a in arms]),
        wrists=np.array([a[1] for a in arms]),
        hips=hips + lift,
        knees=np.array([a[0] for a in legs]) + lift,
        ankles=np.array([a[1] for a in legs]) + lift,
        head=np.array([0.012 if side else 0.0, pelvis + 0.355 + size[1]]),
        pelvis=pelvis,
        head_size=size,
    )


@dataclass(frozen=True)
class Person:
    """A person, dressed and posed."""

    body: Body
    outfit: Outfit
    pose: Pose

    @property
    def joints(self) -> Skeleton:
        """The joints in this pose."""
        return skeleton(self.body, self.pose)
