"""How a person is seen in a photo: framing, what stands in front, and what remains visible."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulation.drawing.canvas import Points
from simulation.drawing.figure import Skeleton
from simulation.drawing.sampling import pick
from simulation.drawing.stage import turned

MARGIN = 0.012
"""How far inside the frame a visible point is."""


@dataclass(frozen=True)
class Occluder:
    """Something between the camera and the subject, by the rectangle that it can cover."""

    name: str
    """none, plant, chair, strip, thumb, table or mirror"""
    corners: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Left, top, right, bottom, before the tilt; of a mirror, what is not covered."""

    def covers(self, points: Points) -> NDArray[np.bool_]:
        """Return which points are covered, bool (M,)."""
        x0, y0, x1, y1 = self.corners
        x, y = points.T
        inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
        return np.asarray(~inside if self.name == "mirror" else inside)


@dataclass(frozen=True)
class Spot:
    """Where the subject is: its origin in the frame and its unit length."""

    x: float
    y: float
    scale: float

    def place(self, points: Points) -> Points:
        """Return frame points of points of the subject, float64 (M, 2)."""
        return np.asarray(points * (self.scale, -self.scale) + (self.x, self.y))


@dataclass(frozen=True)
class View:
    """How a person is seen."""

    framing: str
    spot: Spot
    occluder: Occluder
    head: bool
    """Whether some of the head can be seen."""
    head_points: int
    """Extreme points of the head that can be seen, 0..4."""
    feet: int
    """Shoes of which something can be seen."""
    whole_feet: int


def sample_view(
    rng: np.random.Generator, kind: str, joints: Skeleton, tilt: float, mirror: bool
) -> View:
    """Sample views until one obeys the rule of the class with nothing half hidden.

    Args:
        rng: The random number generator.
        kind: "full-length" or "half-length".
        joints: The person.
        tilt: Of the camera, degrees.
        mirror: Whether the frame of a mirror may cut the view.
    """
    for attempt in range(60):
        view = _propose(rng, kind, joints, mirror and attempt < 40)
        view = _judge(view, joints, tilt)
        if kind == "full-length" and view.head_points == 4 and view.whole_feet:
            return view
        hidden = view.feet == 0 and view.head_points >= 3
        if kind == "half-length" and (hidden or (not view.head and view.whole_feet)):
            return view
    safe = Spot(0.5, 0.85, 0.65) if kind == "full-length" else Spot(0.5, 1.75, 1.6)
    framing = "full" if kind == "full-length" else "cut"
    plain = View(framing, safe, Occluder("none"), False, 0, 0, 0)
    return _judge(plain, joints, tilt)


def feet_from_above(rng: np.random.Generator) -> View:
    """Sample the view of a person down at their own shoes."""
    spot = Spot(
        float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.45, 0.75)), float(rng.uniform(0.8, 1.3))
    )
    return View("feet", spot, Occluder("none"), False, 0, 2, 2)


def _judge(view: View, joints: Skeleton, tilt: float) -> View:
    """Return the view with what can be seen in it."""

    def shown(points: Points, margin: float) -> NDArray[np.bool_]:
        placed = view.spot.place(points)
        seen = turned(placed, tilt)
        inside = ((seen > margin) & (seen < 1 - margin)).all(1)
        hidden = view.occluder.covers(placed)
        return np.asarray(inside & ~hidden)

    feet = [joints.foot_outline(i) for i in (0, 1)]
    boots = [np.concatenate([feet[i], joints.boot_top(i)]) for i in (0, 1)]
    head = joints.head_outline
    return replace(
        view,
        head=bool(shown(head, -MARGIN).any()),
        head_points=int(shown(head, MARGIN).sum()),
        feet=sum(bool(shown(b, -MARGIN).any()) for b in boots),
        whole_feet=sum(bool(shown(f, MARGIN).all()) for f in feet),
    )


def _propose(rng: np.random.Generator, kind: str, joints: Skeleton, mirror: bool) -> View:
    if kind == "full-length":
        scale = float(rng.uniform(0.5 if mirror else 0.36, 0.93))
        top = 1.03 * scale
        y = float(rng.uniform(min(top + 0.01, 0.975), 0.98))
        spot = Spot(float(rng.uniform(0.25, 0.75)), y, scale)
        occluder = _mirror(rng, spot, -0.05) if mirror else _in_front(rng, spot, joints)
        return View("full", spot, occluder, False, 0, 0, 0)
    framing = pick(rng, ("cut",) * 6 + ("legs", "legs", "behind"))
    x = float(rng.uniform(0.3, 0.7))
    if framing == "legs":
        y, high = float(rng.uniform(0.82, 0.97)), float(rng.uniform(0.3, 0.83))
        return View(framing, Spot(x, y, y / high), Occluder("none"), False, 0, 0, 0)
    if framing == "behind":
        scale = float(rng.uniform(0.45, 0.95))
        spot = Spot(x, float(rng.uniform(max(1.03 * scale, 0.8), 1.05)), scale)
        cut = float(rng.uniform(0.13, 0.5))
        table = Occluder("table", (-0.4, spot.y - cut * scale, 1.4, 1.4))
        return View(framing, spot, _mirror(rng, spot, cut) if mirror else table, False, False, 0, 0)
    low, room = float(rng.uniform(0.12, 0.64)), float(rng.uniform(-0.02, 0.3))
    scale = 1 / (1.0 + room - low)
    spot = Spot(x, 1 + scale * low, scale)
    occluder = _in_front(rng, spot, joints)
    return View(framing, spot, occluder, False, 0, 0, 0)


def _mirror(rng: np.random.Generator, spot: Spot, cut: float) -> Occluder:
    """Return the frame of a mirror that ends at a height of the person."""
    w = float(rng.uniform(0.2, 0.42)) * spot.scale
    top = spot.y - spot.scale * float(rng.uniform(1.05, 1.2))
    return Occluder("mirror", (spot.x - w, top, spot.x + w, spot.y - spot.scale * cut))


def _in_front(rng: np.random.Generator, spot: Spot, joints: Skeleton) -> Occluder:
    """Sample what stands in front of a person."""
    name = pick(
        rng, ("none",) * 5 + ("plant", "chair", "strip", "thumb", "plant", "strip", "chair")
    )
    s = spot.scale
    if name == "strip":
        wide = float(rng.uniform(0.04, 0.3))
        left = bool(rng.random() < 0.5)
        return Occluder(name, (-0.4, -0.4, wide, 1.4) if left else (1 - wide, -0.4, 1.4, 1.4))
    if name == "thumb":
        x, y = (float(v) for v in rng.integers(0, 2, 2))
        r = float(rng.uniform(0.1, 0.22))
        return Occluder(name, (x - r, y - r, x + r, y + r))
    if name == "none":
        return Occluder(name)
    half, high = (0.3, 0.58) if name == "plant" else (0.16, 0.57)
    side = 1 if rng.random() < 0.5 else -1
    free = joints.ankles[:, 0].min() if side > 0 else joints.ankles[:, 0].max()
    x = spot.x + s * (free + side * (half + float(rng.uniform(0.068, 0.13))))
    y = spot.y + s * float(rng.uniform(0.0, 0.06))
    return Occluder(name, (x - half * s, y - high * s, x + half * s, y + 0.02))
