"""Draw a head: face, hair and hat."""

from __future__ import annotations

import numpy as np

from simulation.drawing.canvas import box, curve, ellipse, rounded, shade
from simulation.drawing.figure import Person, Skeleton
from simulation.drawing.sampling import Colour
from simulation.drawing.stage import Stage

Frame = tuple[float, float, float, float]
"""Centre, half width and half height of a head."""

INK: Colour = (46, 36, 34)


def draw_hair_behind(stage: Stage, p: Person, j: Skeleton) -> None:
    """Draw the hair behind the head and shoulders."""
    (x, y), (w, h) = j.head, j.head_size
    shift = -0.25 * w if p.pose.view == "side" else 0.0
    b = p.body
    if b.hair_style in ("long", "bob"):
        low = y - (3.2 if b.hair_style == "long" else 1.35) * h
        wide = w * (1.3 if b.hair_style == "long" else 1.35)
        shape = [(x - wide + shift, low, 0.02), (x - wide + shift, y + 0.7 * h, 0.05)]
        shape += [(x, y + 1.25 * h, 0.06), (x + wide + 2 * shift, y + 0.7 * h, 0.05)]
        stage.solid(
            [rounded([*shape, (x + wide + 2.5 * shift, low, 0.02)])], b.hair, 0.3, depth=0.015
        )
    elif b.hair_style == "curly":
        stage.solid([ellipse(x + shift, y + 0.2 * h, w * 1.5, h * 1.25)], b.hair, 0.4, depth=0.012)
    elif b.hair_style == "bun":
        stage.solid([ellipse(x + 3 * shift, y + 1.22 * h, w * 0.55, w * 0.5)], b.hair, 0.4)


def draw_head(stage: Stage, p: Person, j: Skeleton) -> None:
    """Draw the head, seen from the front, the side or the back."""
    (x, y), (w, h) = j.head, j.head_size
    b = p.body
    if p.pose.view == "back":
        with stage.part(
            [ellipse(x, y, w * 1.05, h)],
            b.hair if b.hair_style != "bald" else b.skin,
            relief=0.35,
            depth=0.015,
        ):
            stage.fill(ellipse(x, y - h, w * 0.7, h * 0.4), b.skin)
        draw_hair_behind(stage, p, j)
        return
    if p.pose.view == "front":
        for s in (-1, 1):
            stage.fill(ellipse(x + s * w, y - 0.1 * h, 0.16 * w, 0.2 * h), shade(b.skin, 0.88))
    face = curve(
        [
            (x, y + h),
            (x + 0.8 * w, y + 0.62 * h),
            (x + w, y),
            (x + 0.78 * w, y - 0.62 * h),
            (x + 0.25 * w, y - h),
            (x - 0.25 * w, y - h),
            (x - 0.78 * w, y - 0.62 * h),
            (x - w, y),
            (x - 0.8 * w, y + 0.62 * h),
            (x, y + h),
        ]
    )
    outlines = [face]
    if p.pose.view == "side":
        outlines.append(
            np.array(
                [
                    (x + 0.9 * w, y + 0.15 * h),
                    (x + 1.25 * w, y - 0.2 * h),
                    (x + 0.9 * w, y - 0.25 * h),
                ]
            )
        )
    with stage.part(outlines, b.skin, relief=0.25, depth=0.014):
        _draw_face(stage, p, (x, y, w, h))
        _draw_fringe(stage, p, (x, y, w, h))
    if p.outfit.hat != "none":
        _draw_hat(stage, p, (x, y, w, h))


def _draw_face(stage: Stage, p: Person, at: Frame) -> None:
    x, y, w, h = at
    b = p.body
    shift = 0.5 * w if p.pose.view == "side" else 0.0
    eyes = (0.2,) if p.pose.view == "side" else (-0.42, 0.42)
    if b.beard:
        stage.fill(ellipse(x + shift, y - 0.85 * h, 0.95 * w, 0.5 * h), shade(b.hair, 1.0))
        stage.fill(ellipse(x + shift, y - 0.5 * h, 0.3 * w, 0.13 * h), shade(b.skin, 0.9))
    stage.line(
        np.array([(x + shift - 0.28 * w, y - 0.52 * h), (x + shift + 0.28 * w, y - 0.52 * h)]),
        (168, 84, 80),
        0.006,
    )
    for u in eyes:
        ex = x + u * w + shift
        stage.fill(ellipse(ex, y - 0.02 * h, 0.17 * w, 0.075 * h), (240, 238, 234))
        stage.fill(ellipse(ex, y - 0.02 * h, 0.09 * w, 0.08 * h), INK)
        stage.line(
            np.array([(ex - 0.2 * w, y + 0.17 * h), (ex + 0.2 * w, y + 0.17 * h)]),
            shade(b.hair, 0.8),
            0.005,
        )
        if b.glasses:
            stage.line(ellipse(ex, y - 0.02 * h, 0.32 * w, 0.2 * h), INK, 0.004, True)
    stage.line(
        np.array([(x + shift, y), (x + shift + 0.08 * w, y - 0.26 * h)]), shade(b.skin, 0.8), 0.005
    )


def _draw_fringe(stage: Stage, p: Person, at: Frame) -> None:
    x, y, w, h = at
    b = p.body
    if b.hair_style == "bald":
        return
    if p.pose.view == "side":
        stage.fill(
            curve(
                [
                    (x + w, y + 1.2 * h),
                    (x + 0.7 * w, y + 0.45 * h),
                    (x - 0.1 * w, y + 0.3 * h),
                    (x - 0.3 * w, y - 0.7 * h),
                    (x - 1.6 * w, y - 0.8 * h),
                    (x - 1.6 * w, y + 1.3 * h),
                ]
            ),
            b.hair,
        )
        return
    part = 0.3 * w if b.breadth > 1 else -0.2 * w
    line = curve(
        [
            (x - 1.2 * w, y - 0.1 * h),
            (x - 0.8 * w, y + 0.4 * h),
            (x + part, y + 0.62 * h),
            (x + 0.8 * w, y + 0.38 * h),
            (x + 1.2 * w, y - 0.1 * h),
        ]
    )
    stage.fill(
        np.concatenate([line, np.array([(x + 1.5 * w, y + 1.5 * h), (x - 1.5 * w, y + 1.5 * h)])]),
        b.hair,
    )


def _draw_hat(stage: Stage, p: Person, at: Frame) -> None:
    x, y, w, h = at
    o = p.outfit
    crown = np.concatenate(
        [
            ellipse(x, y + 0.42 * h, w * 1.15, h * 0.85)[:15],
            box(x - 1.15 * w, y + 0.3 * h, x + 1.15 * w, y + 0.42 * h)[:2],
        ]
    )
    stage.solid([crown], o.hat_colour, 0.3, depth=0.012)
    if o.hat == "cap":
        reach = 1.9 if p.pose.view == "side" else 1.25
        stage.solid(
            [ellipse(x + (0.5 * w if reach > 1.5 else 0), y + 0.36 * h, w * reach * 0.8, 0.13 * h)],
            shade(o.hat_colour, 0.8),
            0.2,
        )
    else:
        stage.solid(
            [box(x - 1.2 * w, y + 0.28 * h, x + 1.2 * w, y + 0.55 * h)],
            shade(o.hat_colour, 0.85),
            0.2,
        )
