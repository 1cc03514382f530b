"""Draw a photo that a customer sends with a review."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulation.drawing.camera import develop, light_up
from simulation.drawing.canvas import Image, box, ellipse, shade
from simulation.drawing.feet_drawing import draw_feet
from simulation.drawing.figure import Person, cloth
from simulation.drawing.figure_drawing import draw_person
from simulation.drawing.goods import Package
from simulation.drawing.goods_drawing import draw_goods
from simulation.drawing.package_drawing import draw_package, draw_plain_box
from simulation.drawing.review import Review
from simulation.drawing.review_view import Occluder
from simulation.drawing.scene import Home, draw_chair, draw_plant, draw_setting
from simulation.drawing.stage import Stage, limb


def draw_review(r: Review, size: int) -> Image:
    """Draw a photo that a customer sends.

    Args:
        r: The photo.
        size: Side of the image, pixels.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    rng = np.random.default_rng(r.seed)
    stage = Stage(size, r.tilt)
    home = r.uploader.home
    draw_setting(stage, _laid(home) if r.table else home, r.setting)
    if r.companion == "box" and not isinstance(r.subject, Person):
        with stage.at(r.spot.x + rng.uniform(-0.4, 0.4), r.spot.y - 0.1, 0.8 * r.spot.scale):
            draw_plain_box(stage, cloth(rng))
    _draw_subject(stage, r, rng)
    if r.companion == "hand":
        _draw_hand(stage, r, rng)
    if r.occluder.name != "none":
        _draw_occluder(stage, home, r.occluder, rng)
    camera = r.uploader.camera
    return develop(light_up(stage.image, r.light, camera), camera, r.blur, rng)


def _laid(home: Home) -> Home:
    """Return the home with a wooden table for a floor."""
    return replace(home, floor="planks", floor_colour=home.wood)


def _draw_subject(stage: Stage, r: Review, rng: np.random.Generator) -> None:
    x, y, scale = r.spot.x, r.spot.y, r.spot.scale
    if isinstance(r.subject, Person):
        with stage.at(x, y, scale):
            if r.framing == "feet":
                draw_feet(stage, r.subject)
                return
            stage.veil(ellipse(0.02, 0.0, 0.17, 0.025), 0.5, 0.05)
            draw_person(stage, r.subject)
            if r.companion == "box":
                _draw_parcel(stage, r.subject, rng)
    elif isinstance(r.subject, Package):
        with stage.at(x, y, scale):
            draw_package(stage, r.subject)
    else:
        g = r.subject
        turn = g.angle if g.show in ("flat", "folded") else 0.0
        low = -0.4 if g.show == "flat" and g.product not in ("dress", "trousers") else 0.0
        with stage.at(x, y, scale, mirror=g.mirror, angle=turn), stage.at(0.0, low, 1.0):
            draw_goods(stage, g)


def _draw_parcel(stage: Stage, p: Person, rng: np.random.Generator) -> None:
    """Draw a parcel that a person carries before the chest, and the hands on it."""
    y, wide = p.joints.pelvis + 0.07, float(rng.uniform(0.2, 0.32))
    kraft = (196 - int(rng.integers(40)), 150 - int(rng.integers(30)), 104)
    with stage.at(0.0, y, wide):
        draw_plain_box(stage, kraft, shadow=False)
    for side in (-1, 1):
        hand = np.array([side * wide * 0.47, y + 0.05])
        stage.solid(
            [limb(hand, hand + np.array([-0.03 * side, 0.012]), 0.018, 0.016)], p.body.skin, 0.3
        )


def _draw_hand(stage: Stage, r: Review, rng: np.random.Generator) -> None:
    """Draw a forearm that reaches from the edge of the frame to the subject."""
    side = 1 if rng.random() < 0.5 else -1
    reach = r.spot.scale * 0.42
    wrist = np.array([r.spot.x + side * (reach + 0.12), r.spot.y + rng.uniform(-0.1, 0.12)])
    elbow = np.array([0.5 + side * 0.75, wrist[1] + rng.uniform(0.1, 0.4)])
    skin, sleeve = r.uploader.body.skin, cloth(rng)
    tip = wrist + np.array([-side * 0.07, -0.02])
    stage.solid([limb(elbow, wrist, 0.075, 0.045)], skin, 0.35)
    fingers = [
        limb(
            tip + np.array([0.0, 0.024 * i]),
            tip + np.array([-side * 0.075, 0.024 * i - 0.01]),
            0.017,
            0.013,
        )
        for i in range(-2, 2)
    ]
    stage.solid([limb(wrist, tip, 0.045, 0.05), *fingers], skin, 0.4, depth=0.012)
    if rng.random() < 0.7:
        stage.solid([limb(elbow, elbow + 0.6 * (wrist - elbow), 0.095, 0.07)], sleeve, 0.4)


def _draw_occluder(stage: Stage, home: Home, o: Occluder, rng: np.random.Generator) -> None:
    x0, y0, x1, y1 = o.corners
    if o.name == "mirror":
        for outside in (
            box(-0.5, -0.5, x0, 1.5),
            box(x1, -0.5, 1.5, 1.5),
            box(x0, -0.5, x1, y0),
            box(x0, y1, x1, 1.5),
        ):
            stage.fill(outside, shade(home.wall_colour, 0.9))
        stage.line(box(x0, y0, x1, y1), home.wood, 0.03, closed=True)
    elif o.name == "table":
        stage.solid([box(x0, y0, x1, y0 + 0.05)], shade(home.wood, 1.15), 0.0)
        stage.solid([box(x0, y0 + 0.05, x1, y1)], shade(home.wood, 0.8), 0.0, 0.3)
    elif o.name == "strip":
        stage.solid([box(x0, y0, x1, y1)], shade(home.wood, 1.3), 0.35)
    elif o.name == "thumb":
        r = 0.5 * (x1 - x0)
        stage.solid(
            [ellipse(0.5 * (x0 + x1), 0.5 * (y0 + y1), r, r)], (206, 140, 116), 0.4, depth=0.08
        )
    else:
        half = 0.3 if o.name == "plant" else 0.16
        with stage.at(0.5 * (x0 + x1), y1 - 0.02, 0.5 * (x1 - x0) / half):
            (draw_plant if o.name == "plant" else draw_chair)(stage, home, rng)
