"""Draw a person from body, outfit and pose, on a stage in units of the person's height."""

from __future__ import annotations

import numpy as np

from simulation.drawing.canvas import Points, box, curve, ellipse, rounded, shade
from simulation.drawing.figure import Outfit, Person, Skeleton
from simulation.drawing.head_drawing import draw_hair_behind, draw_head
from simulation.drawing.sampling import Colour
from simulation.drawing.stage import Stage, limb, tube


def draw_person(stage: Stage, p: Person) -> None:
    """Draw a person; the stage is at the point where the person stands.

    Args:
        stage: The stage, in units of the person's height.
        p: The person.
    """
    j = p.joints
    side = p.pose.view == "side"
    if p.pose.view != "back":
        draw_hair_behind(stage, p, j)
    if side:
        _draw_arm(stage, p, j, 0)
    for leg in (1, 0) if j.ankles[1, 1] > j.ankles[0, 1] or side else (0, 1):
        _draw_leg(stage, p, j, leg)
    _draw_hips(stage, p, j)
    stage.solid(
        [limb(j.head, np.array([0.0, j.pelvis + 0.28]), 0.03, 0.036)], shade(p.body.skin, 0.88)
    )
    behind = [i for i in (0, 1) if not side and p.pose.view == "back"]
    for arm in behind:
        _draw_arm(stage, p, j, arm)
    _draw_torso(stage, p, j)
    draw_head(stage, p, j)
    for arm in (1,) if side else () if behind else (0, 1):
        _draw_arm(stage, p, j, arm)
    _draw_bag(stage, p, j)


def _draw_leg(stage: Stage, p: Person, j: Skeleton, side: int) -> None:
    o, wide = p.outfit, p.body.breadth**0.5 * p.body.hips**0.4
    hip, knee, ankle = j.hips[side], j.knees[side], j.ankles[side]
    far = 0.86 if p.pose.view == "side" and side == 0 else 1.0
    bare = o.top == "dress" or o.bottom in ("skirt", "shorts")
    if not bare:
        _draw_shoe(stage, p, j, side)
    radii = (0.05 * wide, 0.036 * wide, 0.022 * wide)
    if bare:
        skin = shade(p.body.skin, 0.96 * far)
        calf = knee + 0.35 * (ankle - knee)
        shape = [limb(hip, knee, radii[0], radii[1]), limb(knee, calf, radii[1], 0.034 * wide)]
        stage.solid([*shape, limb(calf, ankle, 0.034 * wide, radii[2])], skin, 0.3, depth=0.014)
        _draw_shoe(stage, p, j, side)
    if o.top == "dress" or o.bottom == "skirt":
        return
    colour = shade(o.bottom_colour, far)
    if o.bottom == "shorts":
        end = hip + 0.8 * (knee - hip)
        stage.solid([tube(hip, end, 0.06 * wide, 0.056 * wide)], colour, 0.35, depth=0.014)
        return
    knee_r, end_r = {"slim": (0.036, 0.026), "straight": (0.045, 0.04), "wide": (0.055, 0.06)}[
        o.bottom
    ]
    cuff = ankle + np.array([0.0, 0.006])
    shape = [limb(hip, knee, 0.056 * wide, knee_r * wide), tube(knee, cuff, knee_r * wide, end_r)]
    with stage.part(shape, colour, relief=0.35, depth=0.014):
        stage.line(np.array([hip, knee, cuff]), shade(colour, 0.93), 0.006)
        stage.line(knee + np.array([(-0.03, 0.01), (0.02, -0.005)]), shade(colour, 0.86), 0.004)


def _draw_shoe(stage: Stage, p: Person, j: Skeleton, side: int) -> None:
    o, (x, y) = p.outfit, j.ankles[side]
    ground = y - 0.045
    profile = p.pose.view == "side"
    toe = 0.075 if profile else 0.012 if side else -0.012
    half = 0.03
    if profile:
        shape = [
            (x - half, ground, 0.008),
            (x - half, y + 0.015, 0.012),
            (x + half * 0.8, y + 0.015, 0.01),
            (x + 0.045, ground + 0.03, 0.02),
            (x + toe, ground + 0.02, 0.015),
            (x + toe + 0.005, ground, 0.006),
        ]
    else:
        shape = [
            (x + toe - half * 1.05, ground, 0.014),
            (x + toe - half, ground + 0.025, 0.02),
            (x - half * 0.75, y + 0.012, 0.01),
            (x + half * 0.75, y + 0.012, 0.01),
            (x + toe + half, ground + 0.025, 0.02),
            (x + toe + half * 1.05, ground, 0.014),
        ]
    colour = o.shoe_colour
    if o.shoes == "boots":
        stage.solid([limb(np.array([x, y + 0.06]), np.array([x, y]), 0.034, 0.03)], colour, 0.3)
    if o.shoes == "sandals":
        stage.solid([rounded(shape)], p.body.skin, 0.3, depth=0.01)
        straps = np.array([[(x - 0.04, ground + 0.022), (x + 0.04 + max(toe, 0), ground + 0.022)]])
        stage.lines(straps, colour, 0.011)
        stage.line(np.array([(x - 0.028, y), (x + 0.026, y)]), colour, 0.009)
    else:
        with stage.part([rounded(shape)], colour, relief=0.35, depth=0.01):
            if o.shoes == "sneakers":
                stage.line(
                    np.array([(x - 0.014, y), (x + toe * 0.9, ground + 0.025)]),
                    (240, 240, 238),
                    0.008,
                )
    sole = box(
        x + toe - half * 1.15 if not profile else x - half,
        ground,
        x + toe + half * (1.1 if not profile else 0.2),
        ground + 0.011,
    )
    stage.fill(sole, o.sole_colour)


def _draw_hips(stage: Stage, p: Person, j: Skeleton) -> None:
    """Draw the pelvis of trousers, or a skirt."""
    o, y = p.outfit, j.pelvis
    half = (0.065 if p.pose.view == "side" else 0.092) * p.body.hips * p.body.breadth**0.4
    if o.top == "dress":
        return
    if o.bottom == "skirt":
        flare = half * 1.25
        hem = min(o.hem, y - 0.1)
        shape = [(-half * 0.8, y + 0.1, 0.01), (half * 0.8, y + 0.1, 0.01), (half, y + 0.02, 0.03)]
        shape += [(flare, hem, 0.01), (-flare, hem, 0.01), (-half, y + 0.02, 0.03)]
        with stage.part([rounded(shape)], o.bottom_colour, relief=0.35, depth=0.02):
            folds = [[(u * half, y + 0.03), (u * flare, hem)] for u in (-0.6, -0.2, 0.25, 0.65)]
            stage.lines(np.array(folds), shade(o.bottom_colour, 0.85), 0.006)
        return
    shape = [(-half * 0.85, y + 0.09, 0.02), (half * 0.85, y + 0.09, 0.02)]
    shape += [(half, y, 0.04), (half * 0.75, y - 0.07, 0.03), (-half * 0.75, y - 0.07, 0.03)]
    stage.solid([rounded([*shape, (-half, y, 0.04)])], o.bottom_colour, 0.25, depth=0.014)


def _torso(p: Person, j: Skeleton) -> tuple[Points, float]:
    """Return the outline of the top, and its lower end."""
    o, y, wide = p.outfit, j.pelvis, p.body.breadth
    side = p.pose.view == "side"
    neck = 0.034
    shoulder = 0.055 * wide if side else 0.118 * wide**0.8
    waist = (0.06 if side else 0.082) * wide * (1.12 if o.top in ("hoodie", "coat", "shirt") else 1)
    hip = max((0.068 if side else 0.094) * p.body.hips * wide**0.4, waist)
    low = {"coat": o.hem, "dress": o.hem, "tank": y + 0.03, "jacket": y + 0.04}.get(o.top, y + 0.01)
    outline = [
        (neck, y + 0.325, 0.01),
        (shoulder, y + 0.3, 0.03),
        (shoulder * 0.92, y + 0.21, 0.05),
    ]
    outline += [(waist, y + 0.11, 0.08), (hip, y + 0.02, 0.05)]
    if o.top in ("coat", "dress"):
        flare = hip * (1.45 if o.top == "dress" else 1.1)
        outline.append((flare, low, 0.01))
    else:
        outline.append((hip * 0.97, low, 0.01))
    return rounded([*outline, *[(-x, v, r) for x, v, r in reversed(outline)]]), low


def _draw_torso(stage: Stage, p: Person, j: Skeleton) -> None:
    o, y = p.outfit, j.pelvis
    outline, low = _torso(p, j)
    with stage.part([outline], o.top_colour, relief=0.35, fade=0.1, depth=0.02):
        _draw_pattern(stage, o, low, y + 0.33)
        if p.pose.view == "front":
            _draw_front(stage, p, y, low)
        folds = [[(s * 0.05, y + 0.09), (s * 0.09, y + 0.05)] for s in (-1, 1)]
        stage.lines(np.array(folds), shade(o.top_colour, 0.85), 0.006)


def _draw_pattern(stage: Stage, o: Outfit, low: float, high: float) -> None:
    colour = o.inner_colour
    if o.pattern in ("stripes", "check"):
        rows = np.arange(low, high, 0.042)
        stage.lines(np.array([[(-0.3, r), (0.3, r)] for r in rows]), colour, 0.014)
    if o.pattern == "check":
        columns = np.arange(-0.2, 0.21, 0.05)
        stage.lines(np.array([[(c, low), (c, high)] for c in columns]), shade(colour, 0.8), 0.01)
    if o.pattern == "block":
        stage.fill(box(-0.3, high - 0.13, 0.3, high + 0.05), colour)


def _draw_front(stage: Stage, p: Person, y: float, low: float) -> None:
    """Draw the neckline, and what a garment has in the middle of its front."""
    o = p.outfit
    dark = shade(o.top_colour, 0.72)
    if o.top in ("jacket", "coat"):
        stage.fill(
            np.array([(-0.04, y + 0.34), (0.04, y + 0.34), (0.022, low), (-0.022, low)]),
            o.inner_colour,
        )
        for s in (-1, 1):
            lapel = np.array([(s * 0.03, y + 0.34), (s * 0.072, y + 0.24), (s * 0.03, y + 0.19)])
            stage.fill(lapel, shade(o.top_colour, 0.85))
    elif o.top == "shirt":
        stage.line(np.array([(0, y + 0.3), (0, low)]), dark, 0.005)
        for v in np.arange(low + 0.03, y + 0.29, 0.045):
            stage.fill(ellipse(0, v, 0.006, 0.006), shade(o.top_colour, 1.6))
        stage.fill(np.array([(-0.05, y + 0.34), (0, y + 0.275), (0.05, y + 0.34)]), dark)
    else:
        depth = 0.06 if o.top in ("tank", "dress") else 0.032
        stage.fill(ellipse(0, y + 0.335, 0.042, depth), shade(p.body.skin, 0.95))
        if o.top == "hoodie":
            stage.line(curve([(-0.06, y + 0.33), (0, y + 0.26), (0.06, y + 0.33)]), dark, 0.02)
            stage.line(
                rounded(
                    [
                        (-0.06, y + 0.04, 0.01),
                        (0.06, y + 0.04, 0.01),
                        (0.04, y + 0.1, 0.01),
                        (-0.04, y + 0.1, 0.01),
                    ]
                ),
                dark,
                0.005,
                True,
            )
    if o.pattern == "logo":
        stage.fill(ellipse(0, y + 0.2, 0.045, 0.036), o.inner_colour)
    if o.top == "dress":
        stage.line(np.array([(-0.2, y + 0.11), (0.2, y + 0.11)]), dark, 0.012)


def _draw_arm(stage: Stage, p: Person, j: Skeleton, side: int) -> None:
    o, wide = p.outfit, p.body.breadth**0.5
    shoulder, elbow, wrist = j.shoulders[side], j.elbows[side], j.wrists[side]
    shoulder = shoulder * (0.93, 1) - (0.0, 0.018)
    far = 0.86 if p.pose.view == "side" and side == 0 else 1.0
    skin = shade(p.body.skin, far)
    way = (wrist - elbow) / np.hypot(*(wrist - elbow))
    hand = [limb(wrist, wrist + 0.035 * way, 0.018, 0.02)]
    stage.solid(
        [
            *hand,
            limb(shoulder, elbow, 0.031 * wide, 0.026 * wide),
            limb(elbow, wrist, 0.026 * wide, 0.017),
        ],
        skin,
        0.3,
        depth=0.01,
    )
    if p.pose.phone == side:
        centre = wrist + 0.05 * way
        with stage.at(float(centre[0]), float(centre[1]), 1.0):
            _draw_phone(stage, skin)
    if o.sleeves == "none":
        return
    thick = {"coat": 1.35, "hoodie": 1.3, "sweater": 1.2, "jacket": 1.25}.get(o.top, 1.12) * wide
    end = elbow if o.sleeves == "long" else shoulder + 0.62 * (elbow - shoulder)
    sleeve = [limb(shoulder, end, 0.035 * thick, 0.03 * thick)]
    if o.sleeves == "long":
        sleeve.append(limb(elbow, wrist, 0.03 * thick, 0.022 * thick))
    colour = shade(o.top_colour, far * 0.96)
    with stage.part(sleeve, colour, relief=0.45, depth=0.01):
        if o.pattern == "stripes":
            for u in np.arange(0.15, 1, 0.25):
                at = shoulder + u * (elbow - shoulder)
                stage.line(at + np.array([(-0.05, 0), (0.05, 0)]), o.inner_colour, 0.012)


def _draw_phone(stage: Stage, skin: Colour) -> None:
    body = [(-0.024, -0.045, 0.008), (0.024, -0.045, 0.008), (0.024, 0.052, 0.008)]
    stage.solid([rounded([*body, (-0.024, 0.052, 0.008)])], (32, 33, 38), 0.3, depth=0.006)
    stage.fill(ellipse(-0.011, 0.038, 0.007, 0.007), (92, 98, 110))
    stage.line(np.array([(-0.03, -0.02), (0.012, -0.03)]), skin, 0.012)
    stage.line(np.array([(-0.03, -0.003), (0.01, -0.012)]), skin, 0.012)


def _draw_bag(stage: Stage, p: Person, j: Skeleton) -> None:
    o, y = p.outfit, j.pelvis
    if o.bag == "none":
        return
    if o.bag == "hand":
        side = int(j.wrists[1, 1] < j.wrists[0, 1])
        x, top = j.wrists[side] - (0.0, 0.07)
        stage.line(
            curve([(x - 0.04, top), (x, top + 0.06), (x + 0.04, top)]),
            shade(o.bag_colour, 0.7),
            0.009,
        )
    else:
        x, top = 0.11 * p.body.breadth, y + 0.02
        if p.pose.view != "side":
            stage.line(np.array([(-0.07, y + 0.31), (x, top)]), shade(o.bag_colour, 0.7), 0.011)
    shape = [(x - 0.055, top, 0.012), (x + 0.055, top, 0.012), (x + 0.065, top - 0.1, 0.015)]
    with stage.part(
        [rounded([*shape, (x - 0.065, top - 0.1, 0.015)])], o.bag_colour, relief=0.35, depth=0.012
    ):
        stage.line(
            np.array([(x - 0.07, top - 0.04), (x + 0.07, top - 0.04)]),
            shade(o.bag_colour, 0.7),
            0.006,
        )
