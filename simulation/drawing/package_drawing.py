"""Draw a parcel: a box in perspective or a mailing bag."""

from __future__ import annotations

from math import cos, radians, sin

import cv2
import numpy as np

from simulation.drawing.canvas import Image, Points, box, curve, ellipse, rounded, shade
from simulation.drawing.goods import Package
from simulation.drawing.sampling import Colour
from simulation.drawing.stage import Stage

PRINT_SIDE = 64
"""Side of the printed faces, pixels; they are scaled to the stage."""

SHOPS = ("VELMORA", "TARKIN", "OSKARI", "PARCELO", "Solace", "LUMINA", "fragile", "Marlowe")

FACES = {
    "top": (7, 6, 5, 4),
    "front": (4, 5, 1, 0),
    "right": (5, 6, 2, 1),
    "back": (6, 7, 3, 2),
    "left": (7, 4, 0, 3),
}
"""Corners of the faces, from the upper left one, clockwise."""


def project(points: Points, yaw: float, pitch: float) -> Points:
    """Project points of space, as (x, y, height), to (x, y upwards); angles in degrees."""
    a, b = radians(yaw), radians(pitch)
    x = points[:, 0] * cos(a) - points[:, 1] * sin(a)
    y = points[:, 0] * sin(a) + points[:, 1] * cos(a)
    z = points[:, 2]
    depth = y * cos(b) - z * sin(b)
    near = 1 / (1 + 0.22 * depth)
    return np.stack([x * near, (y * sin(b) + z * cos(b)) * near], 1)


def _corners(p: Package, rise: float = 1.0) -> Points:
    """Return the corners of the box: four at the bottom, four at the top, float64 (8, 2)."""
    w, d, h = p.sides
    foot = [(-w / 2, -d / 2), (w / 2, -d / 2), (w / 2, d / 2), (-w / 2, d / 2)]
    space = np.array([(*f, z) for z in (0.0, h * rise) for f in foot])
    return project(space, p.yaw, p.pitch)


def draw_package(stage: Stage, p: Package) -> None:
    """Draw a parcel around the point where the stage is; its longest side is the unit."""
    c = _corners(p)
    ground = c[:4] * 1.06 + (0.05, -0.02)
    stage.veil(ground, 0.5, 0.09)
    if p.form == "mailer":
        _draw_mailer(stage, p)
        return
    visible = [n for n in ("left", "back", "right", "front", "top") if _faces_us(c[list(FACES[n])])]
    light = {"top": 1.1, "front": 0.95, "right": 0.78, "back": 0.78, "left": 0.85}
    for name in visible:
        if name == "top" and p.opened:
            continue
        quad = c[list(FACES[name])]
        colour = shade(p.colour, light[name])
        stage.solid([quad], colour, 0.12, 0.08)
        stage.line(quad, shade(colour, 0.8), 0.006, closed=True)
    if p.opened:
        _draw_opening(stage, p, c)
    for name in visible:
        if not (name == "top" and p.opened):
            _draw_print(stage, p, c[list(FACES[name])], name)
    if p.form == "shoebox" and not p.opened:
        rim = [FACES[n] for n in visible if n != "top"]
        for a, b, below_b, below_a in (c[list(f)] for f in rim):
            lid = np.array([a, b, b + 0.22 * (below_b - b), a + 0.22 * (below_a - a)])
            stage.solid([lid], shade(p.colour, 0.9), 0.1)
            stage.line(lid[2:], shade(p.colour, 0.55), 0.008)


def _faces_us(quad: Points) -> bool:
    """Return whether the corners run clockwise as seen (y upwards)."""
    x, y = quad.T
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < -1e-4)


def _draw_opening(stage: Stage, p: Package, c: Points) -> None:
    """Draw the inside and the four flaps, or the lid that leans behind."""
    top = c[4:]
    stage.solid([top], shade(p.colour, 0.42), 0.0, -0.2)
    rng = np.random.default_rng(p.dents)
    middle = top.mean(0)
    inner = middle + 0.82 * (top - middle) - (0.0, 0.03)
    with stage.part([top], shade(p.colour, 0.42), relief=0.0):
        stage.solid([rounded([(x, y, 0.08) for x, y in inner])], p.content, 0.4)
        for _ in range(5):
            at = middle + rng.uniform(-0.3, 0.3, 2)
            stage.solid(
                [ellipse(at[0], at[1], 0.14, 0.06, rng.uniform(0, 3))], (232, 230, 226), 0.5
            )
    order = sorted(range(4), key=lambda i: -float(top[i, 1] + top[(i + 1) % 4, 1]))
    for i in order:
        a, b = top[i], top[(i + 1) % 4]
        away = (a + b) / 2 - middle
        out = away * rng.uniform(0.45, 0.8) + (0.0, rng.uniform(-0.02, 0.12))
        flap = np.array([a, b, b + out, a + out])
        stage.solid([flap], shade(p.colour, float(rng.uniform(0.85, 1.2))), 0.15)
        stage.line(flap, shade(p.colour, 0.7), 0.006, closed=True)


def _draw_print(stage: Stage, p: Package, quad: Points, face: str) -> None:
    """Lay tape, label and print on a face."""
    picture = np.zeros((PRINT_SIDE, PRINT_SIDE, 3), np.uint8)
    cover = np.zeros((PRINT_SIDE, PRINT_SIDE), np.uint8)
    n = PRINT_SIDE
    if p.tape != "none" and face in ("top", "front", "back"):
        rows = slice(0, n) if face == "top" else slice(0, n // 3)
        picture[rows, 28:36], cover[rows, 28:36] = p.tape_colour, 200
        if p.tape == "cross" and face == "top":
            picture[28:36], cover[28:36] = p.tape_colour, 200
    on = "top" if p.pitch > 42 and not p.opened else "front"
    if p.label and face == on:
        _stick_label(picture, cover, 34, 8, p.dents)
    printed = "front" if on == "top" else "top"
    if p.print_ != "none" and face in (printed, "right", "left"):
        _print(picture, cover, p)
    if cover.any():
        stage.paste(picture, cover, quad)


def _stick_label(picture: Image, cover: Image, x: int, y: int, seed: int) -> None:
    """Stick an address label: lines of text and a bar code."""
    rng = np.random.default_rng(seed)
    w, h = (int(v) for v in rng.integers(20, 27, 2))
    picture[y : y + h, x : x + w], cover[y : y + h, x : x + w] = (244, 243, 238), 255
    for i in range(3):
        picture[y + 3 + 3 * i, x + 3 : x + int(rng.integers(10, w - 2))] = (60, 60, 62)
    bars = x + 3 + np.flatnonzero(rng.random(w - 6) < 0.55)
    picture[y + h - 8 : y + h - 2, bars] = (30, 30, 32)


def _print(picture: Image, cover: Image, p: Package) -> None:
    """Print arrows, the name of a shop or the picture of a shoe."""
    name, colour = p.print_, p.print_colour
    if name == "arrows":
        for x in (12, 24):
            points = np.array(
                [
                    (x, 34),
                    (x + 5, 42),
                    (x + 2, 42),
                    (x + 2, 54),
                    (x - 2, 54),
                    (x - 2, 42),
                    (x - 5, 42),
                ]
            )
            cv2.fillPoly(picture, [points], colour)
            cv2.fillPoly(cover, [points], 255)
    elif name == "name":
        for plane, ink in ((picture, colour), (cover, (255, 255, 255))):
            cv2.putText(
                plane,
                SHOPS[p.dents % len(SHOPS)],
                (3, 46),
                cv2.FONT_HERSHEY_DUPLEX,
                0.38,
                ink,
                1,
                cv2.LINE_AA,
            )
    else:
        cv2.rectangle(picture, (8, 12), (56, 54), (236, 236, 232), -1)
        cv2.rectangle(cover, (8, 12), (56, 54), 255, -1)
        shoe = np.array([(14, 24), (22, 22), (28, 30), (46, 38), (51, 42), (50, 47), (14, 47)])
        cv2.fillPoly(picture, [shoe], colour)
        cv2.line(picture, (13, 47), (51, 47), (40, 40, 42), 2)


def _draw_mailer(stage: Stage, p: Package) -> None:
    """Draw a soft mailing bag, seen from above."""
    rng = np.random.default_rng(p.dents)
    c = _corners(p)
    top = c[4:][[3, 2, 1, 0]]
    ring = np.concatenate(
        [top[i] + np.linspace(0, 1, 6)[:-1, None] * (top[(i + 1) % 4] - top[i]) for i in range(4)]
    )
    outline = curve(
        [
            (float(x), float(y))
            for x, y in [*(ring + rng.uniform(-0.012, 0.012, ring.shape)), ring[0]]
        ],
        4,
    )
    middle = top.mean(0)
    with stage.part([outline], p.colour, relief=0.55, depth=0.05):
        for _ in range(9):
            a = middle + rng.uniform(-0.45, 0.45, 2)
            b = a + rng.uniform(-0.25, 0.25, 2)
            tint = shade(p.colour, float(rng.choice([0.85, 0.9, 1.15, 1.3])))
            stage.line(np.array([a, b]), tint, float(rng.uniform(0.006, 0.03)))
        edge = np.array(
            [top[0], top[1], top[1] + 0.14 * (top[2] - top[1]), top[0] + 0.14 * (top[3] - top[0])]
        )
        stage.fill(edge, shade(p.colour, 0.86))
        if p.opened or rng.random() < 0.3:
            stage.line(edge[2:], shade(p.colour, 0.6), 0.012)
    picture = np.zeros((PRINT_SIDE, PRINT_SIDE, 3), np.uint8)
    cover = np.zeros((PRINT_SIDE, PRINT_SIDE), np.uint8)
    if p.print_ in ("name", "picture"):
        _print(picture, cover, p)
    if p.label or p.print_ not in ("name", "picture"):
        _stick_label(picture, cover, int(rng.integers(6, 36)), int(rng.integers(14, 34)), p.dents)
    stage.paste(picture, cover, top)


def draw_plain_box(stage: Stage, colour: Colour, *, shadow: bool = True) -> None:
    """Draw a plain closed box from the front, one unit wide."""
    if shadow:
        stage.veil(box(-0.5, -0.03, 0.55, 0.05), 0.5, 0.06)
    stage.solid(
        [np.array([(-0.5, 0.4), (0.5, 0.4), (0.42, 0.52), (-0.42, 0.52)])], shade(colour, 1.12), 0.1
    )
    with stage.part([box(-0.5, 0, 0.5, 0.4)], colour, relief=0.15):
        stage.fill(box(-0.05, 0.25, 0.05, 0.5), shade(colour, 1.25))
        stage.fill(box(0.16, 0.1, 0.42, 0.28), (240, 240, 236))
