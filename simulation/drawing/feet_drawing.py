"""Draw what a person sees who looks down at their own shoes."""

from __future__ import annotations

import numpy as np

from simulation.drawing.canvas import ellipse, rounded, shade
from simulation.drawing.figure import Outfit, Person
from simulation.drawing.stage import Stage, limb


def draw_feet(stage: Stage, p: Person) -> None:
    """Draw two shoes from above, and the legs below them in the frame.

    Args:
        stage: The stage, between the toes; the unit is about three lengths of a shoe.
        p: The person.
    """
    o, turn = p.outfit, p.body.hips - 0.9
    bare = o.top == "dress" or o.bottom in ("skirt", "shorts")
    for side in (-1, 1):
        heel, knee = np.array([side * 0.12, -0.3]), np.array([side * 0.2, -1.2])
        with stage.at(side * 0.12, -0.3, 1.0, mirror=side < 0, angle=-60 * turn * side):
            _draw_shoe(stage, o, p)
        if bare:
            stage.solid([limb(knee, heel, 0.15, 0.06)], p.body.skin, 0.35)
        else:
            wide = {"slim": 0.085, "straight": 0.11, "wide": 0.14}[o.bottom]
            with stage.part([limb(knee, heel, 0.19, wide)], o.bottom_colour, relief=0.4):
                stage.line(np.array([knee, heel]), shade(o.bottom_colour, 0.88), 0.012)


def _draw_shoe(stage: Stage, o: Outfit, p: Person) -> None:
    """Draw a shoe from above, its heel at the origin and its toe upwards."""
    outline = [(-0.075, -0.06, 0.06), (0.07, -0.06, 0.06), (0.1, 0.3, 0.08), (0.02, 0.37, 0.06)]
    sole = rounded([*outline, (-0.08, 0.33, 0.08)])
    stage.veil(sole + np.array([0.02, -0.02]), 0.5, 0.05)
    stage.solid([sole], o.sole_colour, 0.2)
    upper = rounded(
        [(0.86 * x, 0.95 * y + 0.006, r) for x, y, r in [*outline, (-0.08, 0.33, 0.08)]]
    )
    if o.shoes == "sandals":
        stage.solid([upper], p.body.skin, 0.35, depth=0.02)
        for y in (0.06, 0.22):
            stage.line(np.array([(-0.08, y), (0.085, y + 0.02)]), o.shoe_colour, 0.04)
        return
    with stage.part([upper], o.shoe_colour, relief=0.45, depth=0.03):
        stage.fill(ellipse(0, 0.06, 0.05, 0.11), shade(o.shoe_colour, 0.7))
        if o.shoes == "sneakers":
            rows = np.linspace(0.06, 0.2, 5)
            stage.lines(
                np.array([[(-0.045, y), (0.045, y + 0.012)] for y in rows]), (238, 238, 236), 0.014
            )
            stage.line(
                np.array([(-0.06, 0.27), (0.0, 0.24), (0.08, 0.28)]),
                shade(o.shoe_colour, 0.8),
                0.01,
            )
