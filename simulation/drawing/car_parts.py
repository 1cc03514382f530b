"""Draw the parts of a car's body: doors, handles, lamps, wheels, mirror."""

from __future__ import annotations

import numpy as np

from simulation.drawing.canvas import DARK, Canvas, curve, ellipse, rounded, shade
from simulation.drawing.car import Car
from simulation.drawing.sampling import COLOURS, Colour, colour_of

GLASS: Colour = (62, 74, 88)


RUBBER: Colour = (44, 44, 46)


def door_split(c: Car) -> float:
    """Return x of the rear end of the front door (the B pillar)."""
    if c.doors == 2 and c.product_type not in ("van", "pickup"):
        return c.screen_x - 0.19
    return max(c.screen_x - 0.13, 0.5 * (c.tail_x + c.cowl_x)) if c.doors == 4 else c.tail_x + 0.04


def draw_doors(canvas: Canvas, c: Car, paint: Colour) -> None:
    """Draw the seams, sills and handles of the doors."""
    seam, split = shade(paint, 0.58), door_split(c)
    sill, belt = c.clearance + 0.022, c.belt + 0.01
    front = min(c.cowl_x - 0.035, c.front_wheel_x - 1.25 * c.wheel_radius)
    edges = [
        curve([(front - 0.03, belt), (front, belt - 0.05), (front - 0.01, sill)]),
        np.array([(split, belt), (split, sill)]),
    ]
    handles = [split + 0.03]
    if c.doors == 4 and c.product_type not in ("van", "pickup"):
        end = c.rear_wheel_x + 0.4 * c.wheel_radius
        bend = c.rear_wheel_x + 1.3 * c.wheel_radius
        edges.append(
            curve(
                [(end, belt), (end + 0.012, 0.62 * belt), (bend, 0.45 * belt), (bend + 0.01, sill)]
            )
        )
        handles.append(end + 0.035)
    if c.product_type == "van":
        rail = 0.62 * c.belt
        edges += [
            np.array([(0.04, rail), (split, rail)]),
            np.array([(split - 0.26, belt), (split - 0.26, sill)]),
        ]
        handles.append(split - 0.05)
    if c.product_type == "pickup":
        edges.append(np.array([(c.tail_x - 0.01, belt), (c.tail_x - 0.01, sill)]))
        canvas.line(
            np.array([(0.0, belt + c.belt_rise - 0.02), (c.tail_x, belt + c.belt_rise - 0.02)]),
            DARK,
            0.014,
        )
    for edge in edges:
        canvas.line(edge, seam, 0.0048)
    canvas.line(np.array([(split - 0.0, sill), (front - 0.01, sill)]), seam, 0.0048)
    for x in handles:
        _draw_handle(canvas, c, x, paint)
    cap = ellipse(c.rear_wheel_x - 0.02, c.belt - 0.05, 0.014, 0.014)
    canvas.line(cap, shade(paint, 0.7), 0.004, closed=True)


def _draw_handle(canvas: Canvas, c: Car, x: float, paint: Colour) -> None:
    y = c.belt - 0.036
    grip = np.array([(x, y), (x + 0.036, y + 0.002)])
    canvas.line(grip - (0, 0.005), shade(paint, 0.5), 0.012)
    colours = {"body": shade(paint, 1.08), "chrome": (214, 216, 220), "black": DARK}
    canvas.line(grip, colours[c.handle], 0.009)


def draw_lamps(canvas: Canvas, c: Car) -> None:
    """Draw the head and tail lamps."""
    nose, deck, low = c.nose_height, c.belt + c.belt_rise, c.clearance
    y = nose - 0.035
    heads = {
        "slim": [(0.9, y + 0.012), (1.02, y - 0.012), (1.02, y + 0.008), (0.93, y + 0.026)],
        "swept": [(0.87, y + 0.018), (0.96, y - 0.02), (1.02, y - 0.02), (0.99, y + 0.03)],
        "tall": [(0.945, y - 0.035), (1.02, y - 0.035), (1.02, y + 0.03), (0.935, y + 0.025)],
    }
    if c.headlight == "round":
        canvas.fill(ellipse(0.965, y - 0.004, 0.022, 0.026), (150, 156, 164))
        canvas.fill(ellipse(0.967, y - 0.004, 0.017, 0.021), (238, 242, 246))
    else:
        lens = np.array(heads[c.headlight])
        canvas.fill(lens, (226, 234, 242))
        canvas.line(lens, DARK, 0.005, closed=True)
    canvas.fill(
        np.array(
            [(0.975, low + 0.02), (1.02, low + 0.02), (1.02, nose - 0.07), (0.982, nose - 0.08)]
        ),
        DARK,
    )
    if c.fog_light:
        canvas.fill(ellipse(0.95, low + 0.045, 0.012, 0.01), (232, 226, 196))
    tails = {
        "slim": [
            (-0.02, deck - 0.05),
            (0.075, deck - 0.042),
            (0.065, deck - 0.024),
            (-0.02, deck - 0.02),
        ],
        "tall": [
            (-0.02, deck - 0.095),
            (0.03, deck - 0.09),
            (0.034, deck - 0.015),
            (-0.02, deck - 0.012),
        ],
        "hook": [
            (-0.02, deck - 0.07),
            (0.025, deck - 0.066),
            (0.03, deck - 0.042),
            (0.085, deck - 0.034),
            (0.08, deck - 0.018),
            (-0.02, deck - 0.018),
        ],
    }
    lamp = np.array(tails[c.taillight])
    canvas.fill(lamp, (196, 24, 32))
    canvas.line(lamp, (96, 12, 18), 0.005, closed=True)


def draw_wheel(canvas: Canvas, c: Car, x: float) -> None:
    """Draw the wheel whose hub is at ``x``, in car lengths."""
    r = c.wheel_radius
    rim_r, rim = r * c.rim_share, COLOURS[c.rim_colour]
    mask = canvas.mask([ellipse(x, r, r, r)])
    with canvas.part(mask, RUBBER, top=1.15, bottom=0.8, relief=0.2, depth=0.02):
        canvas.fill(ellipse(x, r, rim_r + 0.004, rim_r + 0.004), DARK)
        canvas.fill(ellipse(x, r, rim_r, rim_r), shade(rim, 0.45))
        _draw_spokes(canvas, c, x, r, rim_r)
        canvas.line(ellipse(x, r, 0.96 * rim_r, 0.96 * rim_r), rim, 0.006, closed=True)
        canvas.fill(ellipse(x, r, 0.2 * rim_r, 0.2 * rim_r), shade(rim, 0.9))
        canvas.fill(ellipse(x, r, 0.1 * rim_r, 0.1 * rim_r), shade(rim, 0.5))


def _draw_spokes(canvas: Canvas, c: Car, x: float, y: float, r: float) -> None:
    rim, n = COLOURS[c.rim_colour], c.rim_spokes
    angles = np.arange(n) * (2 * np.pi / n) + np.pi / 2
    if c.rim in ("steel", "dish"):
        canvas.fill(ellipse(x, y, 0.93 * r, 0.93 * r), rim)
        canvas.line(ellipse(x, y, 0.55 * r, 0.55 * r), shade(rim, 0.75), 0.005, closed=True)
        for a in angles:
            hole = ellipse(x + 0.72 * r * np.cos(a), y + 0.72 * r * np.sin(a), 0.1 * r, 0.1 * r)
            canvas.fill(hole, shade(rim, 0.35) if c.rim == "steel" else shade(rim, 0.7))
        return
    twist = 0.55 if c.rim == "turbine" else 0.0
    spreads = {"twin": (-0.16, 0.16), "mesh": (-0.3, 0.3)}.get(c.rim, (0.0,))
    pairs = [
        (
            (x + 0.12 * r * np.cos(a - twist), y + 0.12 * r * np.sin(a - twist)),
            (x + 0.95 * r * np.cos(a + s), y + 0.95 * r * np.sin(a + s)),
        )
        for a in angles
        for s in spreads
    ]
    thick = {"spoke": 1.5, "twin": 0.9, "mesh": 0.75, "turbine": 1.3}[c.rim] * r / n
    canvas.segments(np.array(pairs), rim, thick)


def draw_mirror(canvas: Canvas, c: Car) -> None:
    """Draw the near door mirror."""
    x, y = c.cowl_x - 0.075, c.belt + 0.022
    mask = canvas.mask(
        [
            rounded(
                [
                    (x - 0.028, y - 0.012, 0.01),
                    (x + 0.018, y - 0.016, 0.01),
                    (x + 0.012, y + 0.014, 0.015),
                    (x - 0.026, y + 0.016, 0.01),
                ]
            )
        ]
    )
    paint = shade(colour_of(c.body_colour), 0.95)
    with canvas.part(mask, paint, top=1.1, bottom=0.75, relief=0.2, depth=0.01):
        pass
