"""Rooms, streets and table tops: what stands behind and below the subject of a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulation.drawing.canvas import box, curve, ellipse, rounded, shade
from simulation.drawing.figure import cloth
from simulation.drawing.sampling import Colour, hsv, pick
from simulation.drawing.stage import EVERYWHERE, Stage

WALLS = ("plain", "plain", "plain", "stripes", "tiles", "brick", "panel")
FLOORS = ("planks", "planks", "tiles", "carpet", "carpet", "concrete")
FURNITURE = (
    "window", "picture", "wardrobe", "door", "shelf", "plant", "sofa", "bed", "lamp", "curtain",
    "mirror", "rail", "chair",
)  # fmt: skip


@dataclass(frozen=True)
class Home:
    """A home: the colours and the furniture that its photos share."""

    wall: str
    wall_colour: Colour
    floor: str
    floor_colour: Colour
    wood: Colour
    fabric: Colour
    facade: Colour
    furniture: tuple[str, ...]
    seed: int
    """Of the details of furniture and street."""


@dataclass(frozen=True)
class Setting:
    """Where the camera points."""

    place: str
    """room, street or top"""
    horizon: float
    """Where wall and floor meet, y in the frame."""
    scale: float
    """Height of a person in the frame."""
    pan: float
    """Shift of the furniture, frame units."""


def sample_home(rng: np.random.Generator) -> Home:
    """Sample a home."""
    wall = hsv(rng.random(), rng.uniform(0, 0.28), rng.uniform(0.5, 0.97))
    wood = hsv(rng.uniform(0.05, 0.1), rng.uniform(0.2, 0.65), rng.uniform(0.25, 0.85))
    floor = pick(rng, FLOORS)
    stone = hsv(rng.uniform(0, 0.15), rng.uniform(0, 0.18), rng.uniform(0.3, 0.85))
    rug = hsv(rng.random(), rng.uniform(0, 0.45), rng.uniform(0.25, 0.85))
    floor_colour = {"planks": wood, "carpet": rug}.get(floor, stone)
    order = rng.permutation(len(FURNITURE))[:3]
    return Home(
        wall=pick(rng, WALLS),
        wall_colour=wall,
        floor=floor,
        floor_colour=floor_colour,
        wood=hsv(rng.uniform(0.05, 0.1), rng.uniform(0.0, 0.65), rng.uniform(0.2, 0.95)),
        fabric=cloth(rng),
        facade=hsv(rng.uniform(0, 0.13), rng.uniform(0.02, 0.5), rng.uniform(0.35, 0.9)),
        furniture=tuple(FURNITURE[i] for i in order),
        seed=int(rng.integers(1 << 30)),
    )


def draw_setting(stage: Stage, home: Home, s: Setting) -> None:
    """Draw the surroundings of a subject."""
    rng = np.random.default_rng([home.seed, 3])
    if s.place == "top":
        draw_surface(stage, home, s.pan)
    elif s.place == "street":
        _draw_street(stage, home, s, rng)
    else:
        _draw_room(stage, home, s, rng)
    stage.mottle(rng, 0.06)


def draw_surface(stage: Stage, home: Home, pan: float) -> None:
    """Draw a floor or table from above."""
    stage.fill(EVERYWHERE, home.floor_colour)
    dark = shade(home.floor_colour, 0.82)
    with stage.at(0.5 + pan, 0.5, 1.0, angle=40 * pan):
        if home.floor in ("planks", "tiles"):
            step = 0.16 if home.floor == "planks" else 0.27
            edges = np.arange(-1.2, 1.21, step)
            stage.lines(np.array([[(-1.5, e), (1.5, e)] for e in edges]), dark, 0.006)
            if home.floor == "tiles":
                stage.lines(np.array([[(e, -1.5), (e, 1.5)] for e in edges]), dark, 0.006)
            else:
                ends = [[(e * 2.1 % 1.3 - 0.6, e), (e * 2.1 % 1.3 - 0.6, e + step)] for e in edges]
                stage.lines(np.array(ends), dark, 0.006)
                grain = [[(-1.5, e + u), (1.5, e + u)] for e in edges for u in (0.05, 0.11)]
                stage.lines(np.array(grain), shade(home.floor_colour, 0.94), 0.003)
        elif home.floor == "carpet":
            rng = np.random.default_rng(home.seed)
            dots = rng.uniform(-1, 1, (220, 1, 2))
            tufts = np.concatenate([dots, dots + rng.uniform(-0.03, 0.03, dots.shape)], 1)
            stage.lines(tufts, shade(home.floor_colour, 0.88), 0.005)


def _draw_floor(stage: Stage, home: Home, s: Setting) -> None:
    y, colour = s.horizon, home.floor_colour
    with stage.part([box(-0.4, y, 1.4, 1.5)], colour, relief=0.0, fade=-0.25):
        dark, focus = shade(colour, 0.84), np.array([0.5 + s.pan, y - 0.35])
        rows = y + 1.2 * s.scale / np.arange(14, 1, -1.6) - 0.08 * s.scale
        if home.floor in ("planks", "tiles"):
            feet = np.stack([np.linspace(-3, 4, 30), np.full(30, 1.5)], 1)
            stage.lines(np.stack([np.broadcast_to(focus, feet.shape), feet], 1), dark, 0.004)
        if home.floor == "tiles":
            stage.lines(np.array([[(-0.5, r), (1.5, r)] for r in rows if r > y]), dark, 0.004)
    stage.veil(box(-0.4, y - 0.01, 1.4, y + 0.03 * s.scale), 0.25, 0.03)


def _draw_wall(stage: Stage, home: Home, s: Setting) -> None:
    y, colour = s.horizon, home.wall_colour
    dark, unit = shade(colour, 0.9), max(s.scale, 0.2)
    with stage.part([box(-0.4, -0.4, 1.4, y)], colour, relief=0.0, fade=0.12):
        if home.wall == "stripes":
            edges = np.arange(-0.5, 1.5, 0.09 * unit) + s.pan
            stage.lines(np.array([[(e, -0.5), (e, y)] for e in edges]), dark, 0.035 * unit)
        if home.wall in ("tiles", "brick"):
            high, wide = (0.1, 0.1) if home.wall == "tiles" else (0.045, 0.13)
            rows = np.arange(y, -0.45, -high * unit)
            stage.lines(np.array([[(-0.5, r), (1.5, r)] for r in rows]), dark, 0.006 * unit)
            columns = np.arange(-0.5, 1.5, wide * unit) + s.pan
            shift = 0.5 * wide * unit if home.wall == "brick" else 0.0
            for r, bricks in enumerate(rows):
                joints = columns + shift * (r % 2)
                pairs = np.stack([joints, np.full_like(joints, bricks)], 1)
                stage.lines(np.stack([pairs, pairs - (0, high * unit)], 1), dark, 0.005 * unit)
        if home.wall == "panel":
            stage.fill(box(-0.4, y - 0.45 * unit, 1.4, y), shade(colour, 0.85))
            stage.line(
                np.array([(-0.4, y - 0.45 * unit), (1.4, y - 0.45 * unit)]), dark, 0.015 * unit
            )
    board = shade(home.wood, 1.3) if home.wall != "tiles" else dark
    stage.fill(box(-0.4, y - 0.045 * unit, 1.4, y), board)


def _draw_room(stage: Stage, home: Home, s: Setting, rng: np.random.Generator) -> None:
    _draw_wall(stage, home, s)
    _draw_floor(stage, home, s)
    spots = (-0.42, 0.1, 0.6)
    for name, spot in zip(home.furniture, spots, strict=True):
        x = 0.5 + s.pan + (spot + rng.uniform(-0.15, 0.15)) * max(s.scale, 0.75)
        with stage.at(x, s.horizon + 0.02 * s.scale, max(s.scale, 0.2)):
            draw_furniture(stage, home, name, rng)


def draw_furniture(stage: Stage, home: Home, name: str, rng: np.random.Generator) -> None:
    """Draw a piece of furniture, in heights of a person, from its foot upwards."""
    flats = {"window": _draw_window, "picture": _draw_picture, "mirror": _draw_mirror}
    drawers = {
        "wardrobe": _draw_wardrobe, "door": _draw_door, "shelf": _draw_shelf, "plant": draw_plant,
        "sofa": _draw_sofa, "bed": _draw_bed, "lamp": _draw_lamp, "curtain": _draw_curtain,
        "rail": _draw_rail, "chair": draw_chair,
    }  # fmt: skip
    (flats | drawers)[name](stage, home, rng)


def _draw_window(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    wide = float(rng.uniform(0.2, 0.4))
    sky = hsv(rng.uniform(0.52, 0.6), rng.uniform(0.02, 0.35), rng.uniform(0.75, 1))
    stage.fill(box(-wide - 0.02, 0.47, wide + 0.02, 1.12), shade(home.wood, 1.5))
    with stage.part([box(-wide, 0.5, wide, 1.1)], sky, relief=0.0, fade=-0.2):
        stage.fill(ellipse(wide * 0.5, 0.5, wide * 0.7, 0.16), (96, 128, 84))
    stage.line(np.array([(0, 0.5), (0, 1.1)]), shade(home.wood, 1.5), 0.02)


def _draw_picture(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    for x in (-0.2, 0.12)[: int(rng.integers(1, 3))]:
        w, h = rng.uniform(0.07, 0.13, 2)
        stage.solid([box(x - w, 0.85 - h, x + w, 0.85 + h)], shade(home.wood, 0.7), 0.3)
        stage.fill(box(x - w * 0.8, 0.85 - h * 0.8, x + w * 0.8, 0.85 + h * 0.8), cloth(rng))
        stage.fill(ellipse(x, 0.83, w * 0.4, h * 0.4), cloth(rng))


def _draw_mirror(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    w = float(rng.uniform(0.13, 0.2))
    stage.solid([box(-w, 0.05, w, 1.05)], home.wood, 0.3)
    stage.solid([box(-w + 0.02, 0.08, w - 0.02, 1.02)], shade(home.wall_colour, 1.2), 0.0, 0.3)


def _draw_wardrobe(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    w, h = float(rng.uniform(0.2, 0.36)), float(rng.uniform(0.95, 1.2))
    with stage.part([box(-w, 0, w, h)], home.wood, relief=0.25):
        dark = shade(home.wood, 0.75)
        stage.line(np.array([(0, 0), (0, h)]), dark, 0.008)
        for s in (-1, 1):
            stage.line(
                box(s * 0.03, 0.06, s * (w - 0.03), h - 0.05), shade(home.wood, 0.88), 0.006, True
            )
            stage.line(np.array([(s * 0.015, 0.5), (s * 0.015, 0.58)]), (196, 190, 176), 0.01)


def _draw_door(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    colour = shade(home.wood, float(rng.uniform(0.8, 1.6)))
    stage.fill(box(-0.27, 0, 0.27, 1.2), shade(colour, 0.85))
    with stage.part([box(-0.24, 0, 0.24, 1.17)], colour, relief=0.2):
        for y0, y1 in ((0.1, 0.5), (0.6, 1.08)):
            stage.line(box(-0.17, y0, 0.17, y1), shade(colour, 0.82), 0.01, True)
        stage.line(np.array([(0.2, 0.56), (0.15, 0.56)]), (186, 180, 166), 0.014)


def _draw_shelf(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    w = float(rng.uniform(0.18, 0.3))
    stage.fill(box(-w, 0, w, 1.05), shade(home.wood, 0.6))
    for y in np.arange(0.03, 0.9, 0.25):
        x = -w + 0.02
        while x < w - 0.05:
            wide, high = rng.uniform(0.02, 0.06), rng.uniform(0.1, 0.2)
            stage.fill(box(x, y, x + wide, y + high), cloth(rng))
            x += wide + rng.uniform(0.002, 0.03)
        stage.line(np.array([(-w, y - 0.01), (w, y - 0.01)]), home.wood, 0.018)
    stage.line(box(-w, 0, w, 1.05), home.wood, 0.02, True)


def draw_plant(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    """Draw a plant in a pot."""
    green = hsv(rng.uniform(0.25, 0.4), rng.uniform(0.3, 0.65), rng.uniform(0.3, 0.6))
    for i in range(11):
        a = rng.uniform(-1.15, 1.15)
        tip = np.array([0.26 * np.sin(a), 0.2 + rng.uniform(0.16, 0.36) * np.cos(a * 0.8)])
        mid = 0.5 * tip + (0.0, 0.14)
        leaf = curve([(0, 0.16), (mid[0] - 0.028, mid[1]), (tip[0], tip[1])], 4)
        back = curve([(tip[0], tip[1]), (mid[0] + 0.028, mid[1] - 0.01), (0, 0.16)], 4)
        stage.fill(np.concatenate([leaf, back]), shade(green, 0.75 + 0.05 * i))
    pot = [(-0.085, 0.19, 0.01), (0.085, 0.19, 0.01), (0.062, 0, 0.015), (-0.062, 0, 0.015)]
    stage.solid([rounded(pot)], home.fabric, 0.35)


def _draw_sofa(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    w, c = float(rng.uniform(0.35, 0.55)), home.fabric
    stage.veil(ellipse(0, 0, w, 0.05), 0.4, 0.05)
    stage.solid(
        [rounded([(-w, 0.05, 0.05), (w, 0.05, 0.05), (w, 0.5, 0.08), (-w, 0.5, 0.08)])],
        shade(c, 0.85),
    )
    for x0, x1 in ((-w + 0.08, -0.01), (0.01, w - 0.08)):
        stage.solid(
            [rounded([(x0, 0.16, 0.03), (x1, 0.16, 0.03), (x1, 0.29, 0.04), (x0, 0.29, 0.04)])], c
        )
    for s in (-1, 1):
        stage.solid(
            [
                rounded(
                    [
                        (s * w, 0.02, 0.02),
                        (s * w, 0.36, 0.05),
                        (s * (w - 0.1), 0.36, 0.05),
                        (s * (w - 0.1), 0.02, 0.02),
                    ]
                )
            ],
            shade(c, 0.93),
        )


def _draw_bed(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    w = float(rng.uniform(0.45, 0.65))
    stage.solid([box(-w, 0, -w + 0.05, 0.55)], home.wood)
    stage.solid(
        [rounded([(-w, 0.08, 0.02), (w, 0.08, 0.02), (w, 0.3, 0.06), (-w, 0.3, 0.04)])],
        home.fabric,
        0.35,
    )
    stage.solid([ellipse(-w + 0.17, 0.34, 0.13, 0.055)], (232, 230, 226), 0.35)
    stage.fill(box(-w, 0.03, w, 0.09), shade(home.wood, 0.8))


def _draw_lamp(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    stage.veil(ellipse(0, 0.85, 0.3, 0.3), 0.5, 0.3, (255, 236, 196))
    stage.line(np.array([(0, 0.02), (0, 0.8)]), shade(home.wood, 0.5), 0.015)
    stage.solid(
        [np.array([(-0.12, 0.76), (0.12, 0.76), (0.07, 0.95), (-0.07, 0.95)])], (244, 228, 190)
    )
    stage.solid([ellipse(0, 0.015, 0.09, 0.02)], shade(home.wood, 0.5))


def _draw_curtain(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    w = float(rng.uniform(0.15, 0.35))
    with stage.part([box(-w, 0.03, w, 1.4)], home.fabric, relief=0.2):
        for x in np.arange(-w, w, 0.055):
            stage.line(
                np.array([(x, 0), (x + rng.uniform(-0.01, 0.01), 1.4)]),
                shade(home.fabric, 0.82),
                0.016,
            )


def _draw_rail(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    metal = (70, 70, 74)
    for x in (-0.32, 0.32):
        stage.line(np.array([(x, 0), (x, 0.92)]), metal, 0.014)
    stage.line(np.array([(-0.32, 0.92), (0.32, 0.92)]), metal, 0.014)
    for x in np.arange(-0.26, 0.28, 0.075):
        low = rng.uniform(0.25, 0.55)
        shape = [
            (x, 0.9, 0.0),
            (x + 0.05, 0.84, 0.02),
            (x + 0.045, low, 0.01),
            (x - 0.035, low, 0.01),
            (x - 0.04, 0.84, 0.02),
        ]
        stage.solid([rounded(shape, 3)], cloth(rng), 0.3, depth=0.015)


def draw_chair(stage: Stage, home: Home, rng: np.random.Generator) -> None:
    """Draw a chair, seen from its side or front."""
    c = home.wood
    for x in (-0.12, 0.12):
        stage.line(np.array([(x, 0), (x * 0.92, 0.27)]), shade(c, 0.8), 0.022)
        stage.line(np.array([(x * 0.8, 0.04), (x * 0.8, 0.27)]), shade(c, 0.6), 0.018)
    back = [(-0.12, 0.3, 0.01), (0.12, 0.3, 0.01), (0.115, 0.55, 0.03), (-0.115, 0.55, 0.03)]
    with stage.part([rounded(back)], c, relief=0.3):
        stage.line(np.array([(0, 0.3), (0, 0.55)]), shade(c, 0.8), 0.012)
    stage.solid(
        [rounded([(-0.14, 0.26, 0.01), (0.14, 0.26, 0.01), (0.13, 0.3, 0.01), (-0.13, 0.3, 0.01)])],
        shade(home.fabric, 0.9),
    )


def _draw_street(stage: Stage, home: Home, s: Setting, rng: np.random.Generator) -> None:
    y, k = s.horizon, max(s.scale, 0.2)
    sky = hsv(rng.uniform(0.54, 0.62), rng.uniform(0.02, 0.45), rng.uniform(0.7, 1))
    stage.solid([EVERYWHERE], sky, 0.0, -0.15)
    x = -0.4 + s.pan * 0.5
    while x < 1.4:
        wide, high = rng.uniform(0.35, 0.8) * k, rng.uniform(0.6, 2.2) * k
        paint = shade(home.facade, float(rng.uniform(0.75, 1.15)))
        with stage.at(x, y, 1.0):
            _draw_facade(stage, paint, float(wide), float(high), k)
        x += wide
    stage.fill(box(-0.4, y - 0.01 * k, 1.4, 1.4), (118, 116, 114))
    _draw_pavement(stage, home, y, k)
    if rng.random() < 0.6:
        with stage.at(0.5 + s.pan + rng.uniform(-0.6, 0.6), y + 0.02, k):
            _draw_tree(stage, rng)
    if rng.random() < 0.4:
        green = hsv(rng.uniform(0.25, 0.36), 0.5, rng.uniform(0.3, 0.5))
        bumps = [(u, y - (0.3 + 0.03 * np.sin(23 * u)) * k) for u in np.linspace(-0.4, 1.4, 30)]
        stage.solid([np.array([*bumps, (1.4, y), (-0.4, y)])], green, 0.3)


def _draw_facade(stage: Stage, paint: Colour, wide: float, high: float, k: float) -> None:
    with stage.part([box(0, 0, wide, high)], paint, relief=0.15, fade=0.1):
        pane = shade(paint, 0.55)
        for v in np.arange(0.45 * k, high - 0.15 * k, 0.38 * k):
            for u in np.arange(0.08 * k, wide - 0.1 * k, 0.2 * k):
                stage.fill(box(u, v, u + 0.1 * k, v + 0.2 * k), pane)
                stage.line(box(u, v, u + 0.1 * k, v + 0.2 * k), shade(paint, 1.35), 0.008 * k, True)
        if wide > 0.45 * k:
            stage.fill(box(0.08 * k, 0, wide - 0.08 * k, 0.34 * k), shade(paint, 0.4))
        stage.fill(box(0.15 * k, 0, 0.26 * k, 0.3 * k), shade(paint, 0.7))


def _draw_pavement(stage: Stage, home: Home, y: float, k: float) -> None:
    colour = shade(home.facade, 0.3)
    grey = (int(90 + 0.6 * colour[0]), int(90 + 0.6 * colour[1]), int(92 + 0.6 * colour[2]))
    with stage.part([box(-0.4, y + 0.04 * k, 1.4, 1.5)], grey, relief=0.0, fade=-0.2):
        focus = np.array([0.5, y - 0.3])
        feet = np.stack([np.linspace(-3, 4, 18), np.full(18, 1.5)], 1)
        stage.lines(
            np.stack([np.broadcast_to(focus, feet.shape), feet], 1), shade(grey, 0.88), 0.004
        )
        rows = [y + 0.05 * k + 0.5 * k * u * u for u in (0.2, 0.45, 0.7, 1.0, 1.35)]
        stage.lines(np.array([[(-0.5, r), (1.5, r)] for r in rows]), shade(grey, 0.88), 0.004)


def _draw_tree(stage: Stage, rng: np.random.Generator) -> None:
    green = hsv(rng.uniform(0.2, 0.36), rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.6))
    stage.solid([np.array([(-0.04, 0), (0.04, 0), (0.025, 0.9), (-0.025, 0.9)])], (92, 72, 56))
    for _ in range(6):
        x, y = rng.uniform(-0.25, 0.25), rng.uniform(0.8, 1.3)
        stage.solid(
            [ellipse(x, y, 0.24, 0.2)], shade(green, float(rng.uniform(0.8, 1.1))), 0.35, depth=0.08
        )
