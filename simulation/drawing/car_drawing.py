"""Draw a car from its spec, front to the right."""

from __future__ import annotations

import numpy as np

from simulation.drawing.canvas import (
    DARK,
    Canvas,
    Image,
    Points,
    box,
    curve,
    ellipse,
    moved,
    rounded,
    shade,
)
from simulation.drawing.car import Car
from simulation.drawing.car_parts import (
    door_split,
    draw_doors,
    draw_lamps,
    draw_mirror,
    draw_wheel,
)
from simulation.drawing.sampling import COLOURS, Colour, colour_of

GLASS: Colour = (62, 74, 88)


def _outline(c: Car) -> Points:
    """Return the outline of the lower body, bumper to bumper, up to the belt line."""
    r, low = c.roundness, c.clearance
    deck = c.belt + c.belt_rise
    tail = [(c.tail_x, deck, 0.02)] if c.tail_x > 0.05 else []
    return rounded(
        [
            (0.02, low, 0.02),
            (0.0, low + 0.045, 0.03),
            (0.004, 0.6 * deck + 0.4 * low, 0.05),
            (0.012, deck - 0.006, 0.03 + 0.4 * r),
            *tail,
            (c.cowl_x, c.belt, 0.05),
            (0.5 * (c.cowl_x + 1.0), 0.45 * c.belt + 0.55 * c.nose_height + 0.012, 0.12),
            (0.978, c.nose_height, 0.03 + r),
            (1.0, 0.5 * (c.nose_height + low) + 0.01, 0.05),
            (0.995, low + 0.02, 0.02),
            (0.97, low, 0.02),
        ]
    )


def _cabin(c: Car, inset: float = 0.0, floor: float = 0.0) -> list[tuple[float, float, float]]:
    """Return the corners of the cabin above the belt: rear foot, roof, windscreen foot."""
    deck, top = c.belt + c.belt_rise, c.height - inset
    lean = 1.3 * inset
    rear_x = max(c.roof_rear_x, c.tail_x - 0.02)
    return [
        (c.tail_x + lean * 1.2, deck - 0.03 + floor, 0.0),
        (rear_x + lean * 0.9, top - c.roof_drop, 0.035 + c.roundness),
        (0.55 * rear_x + 0.45 * c.screen_x, top + (c.roof_bulge if not inset else 0), 0.2),
        (c.screen_x - 0.5 * lean, top - 0.3 * c.roof_drop, 0.05 + c.roundness),
        (c.cowl_x - 1.7 * lean, c.belt - 0.03 + floor, 0.0),
    ]


def draw_car(c: Car, size: int) -> Image:
    """Draw a car, front to the right.

    Args:
        c: The car.
        size: Side of the image, pixels.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    return _paint_car(c, size).finish()


def cut_car(c: Car, size: int) -> tuple[Image, Image]:
    """Draw a car without its studio; see `Canvas.cutout`."""
    return _paint_car(c, size).cutout()


def _paint_car(c: Car, size: int) -> Canvas:
    canvas = Canvas(size, c.height + (0.018 if c.roof_rack else 0.0))
    wheels = (c.rear_wheel_x, c.front_wheel_x)
    canvas.shadow(0.03, 0.97, [(x - 0.05, x + 0.05) for x in wheels])
    canvas.fill(box(wheels[0], 0.6 * c.clearance, wheels[1], c.clearance + 0.08), DARK)
    _draw_roof_parts(canvas, c)
    _draw_cabin(canvas, c)
    _draw_body(canvas, c)
    for x in wheels:
        draw_wheel(canvas, c, x)
    draw_mirror(canvas, c)
    return canvas


def _draw_roof_parts(canvas: Canvas, c: Car) -> None:
    """Draw the antenna, roof rack and spoiler, behind the body."""
    trim = COLOURS[c.trim_colour]
    rear = max(c.roof_rear_x, c.tail_x - 0.02)
    if c.antenna:
        foot = np.array([rear + 0.07, c.height - c.roof_drop])
        canvas.line(np.array([foot, moved(foot, -0.035, 0.035)]), DARK, 0.005)
    if c.roof_rack:
        y = c.height + 0.012
        x0, x1 = rear + 0.06, c.screen_x - 0.03
        for x in (x0 + 0.01, 0.5 * (x0 + x1), x1 - 0.01):
            canvas.fill(box(x - 0.008, y - 0.03, x + 0.008, y), shade(trim, 0.7))
        canvas.line(np.array([(x0, y), (x1, y)]), trim, 0.011)
    if c.spoiler and c.tail_x > 0.05:
        y = c.belt + c.belt_rise
        canvas.fill(box(0.045, y - 0.02, 0.06, y + 0.03), shade(colour_of(c.body_colour), 0.6))
        wing = rounded(
            [
                (0.0, y + 0.024, 0.01),
                (0.09, y + 0.03, 0.01),
                (0.09, y + 0.04, 0.01),
                (0.0, y + 0.044, 0.01),
            ]
        )
        canvas.fill(wing, shade(colour_of(c.body_colour), 0.85))
    elif c.spoiler:
        y = c.height - c.roof_drop
        lip = np.array([(rear + 0.1, y + 0.004), (rear - 0.014, y - 0.01), (rear + 0.04, y - 0.05)])
        canvas.fill(lip, shade(colour_of(c.roof_colour), 0.8))


def _draw_cabin(canvas: Canvas, c: Car) -> None:
    roof = colour_of(c.roof_colour)
    mask = canvas.mask([rounded(_cabin(c))])
    with canvas.part(mask, roof, top=1.04, bottom=0.95, relief=0.18, depth=0.02):
        pass
    inset = 0.026
    window = rounded([(x, y, min(r, 0.04)) for x, y, r in _cabin(c, inset, floor=0.034)])
    glass = shade(GLASS, c.glass_tint)
    with canvas.part(
        canvas.mask([window]), glass, top=1.25, bottom=0.85, relief=-0.15, depth=0.012
    ):
        _draw_glass(canvas, c, glass)
        for x, lean in _pillars(c):
            foot, head = c.belt - 0.02, c.height
            post = np.array([(x - lean, foot), (x, head)])
            canvas.line(post, DARK if c.product_type != "van" else roof, 0.02)
    if c.chrome_line:
        canvas.line(window, (206, 208, 212), 0.006, closed=True)


def _pillars(c: Car) -> list[tuple[float, float]]:
    """Return the posts between the windows: x at the roof, and the foot's distance behind it."""
    front = door_split(c)
    posts = [(front + 0.005, -0.01)]
    if c.doors == 4 and c.product_type not in ("pickup",):
        rear_post = c.rear_wheel_x + 0.035
        if max(c.roof_rear_x, c.tail_x) + 0.07 < rear_post:
            posts.append((rear_post, 0.02))
    return posts


def _draw_glass(canvas: Canvas, c: Car, glass: Colour) -> None:
    """Draw the reflections, and the tops of two seats behind the glass."""
    split = door_split(c)
    for x in (split + 0.02, split - 0.16):
        seat = rounded(
            [
                (x, c.belt - 0.02, 0),
                (x + 0.005, c.belt + 0.055, 0.02),
                (x + 0.04, c.belt + 0.055, 0.02),
                (x + 0.055, c.belt - 0.02, 0),
            ]
        )
        canvas.fill(seat, shade(glass, 0.72))
    for x, w in ((split + 0.1, 0.035), (split + 0.05, 0.014), (split - 0.12, 0.04)):
        low, high = c.belt - 0.02, c.height
        band = np.array([(x, low), (x + w, low), (x + w + 0.09, high), (x + 0.09, high)])
        canvas.fill(band, shade(glass, 1.16))


def _draw_body(canvas: Canvas, c: Car) -> None:
    paint, arch = colour_of(c.body_colour), c.wheel_radius * 1.17
    wheels = (c.rear_wheel_x, c.front_wheel_x)
    arches = [ellipse(x, c.wheel_radius, arch, arch) for x in wheels]
    for hollow in arches:
        canvas.fill(hollow, DARK)
    with canvas.part(
        canvas.mask([_outline(c)], holes=arches),
        paint,
        top=1.04,
        bottom=0.8,
        relief=0.2,
        depth=0.035,
    ):
        _draw_paint(canvas, c, paint)
        draw_doors(canvas, c, paint)
        draw_lamps(canvas, c)
        lip = DARK if c.cladding else shade(paint, 0.72)
        for x in wheels:
            ring = ellipse(x, c.wheel_radius, arch + 0.006, arch + 0.006)
            canvas.line(ring, lip, 0.022 if c.cladding else 0.006, closed=True)
    mid = 0.5 * (c.belt + c.clearance)
    canvas.highlight(
        curve(
            [
                (0.05, c.belt + 0.6 * c.belt_rise - 0.03),
                (0.5, c.belt - 0.018),
                (0.93, c.nose_height - 0.012),
            ]
        ),
        60,
        0.008,
    )
    canvas.highlight(
        np.array([(c.rear_wheel_x + arch, mid - 0.03), (c.front_wheel_x - arch, mid - 0.02)]),
        26,
        0.01,
    )


def _draw_paint(canvas: Canvas, c: Car, paint: Colour) -> None:
    """Draw the two-tone paint, stripes, the reflection of the ground, sill and bumpers."""
    low, belt = c.clearance, c.belt
    height = belt - low
    accent = COLOURS[c.accent_colour]
    canvas.fill(
        np.array(
            [
                (-0.1, low + 0.33 * height),
                (0.5, low + 0.4 * height),
                (1.1, low + 0.36 * height),
                (1.1, -0.1),
                (-0.1, -0.1),
            ]
        ),
        shade(paint, 0.88),
    )
    if c.two_tone:
        canvas.fill(box(-0.1, -0.1, 1.1, low + 0.36 * height), accent)
    stripes = {
        "none": (),
        "low": ((0.28, 0.05),),
        "high": ((0.72, 0.035),),
        "twin": ((0.66, 0.02), (0.76, 0.02)),
        "wide": ((0.5, 0.16),),
    }
    for at, share in stripes.get(c.stripe, ()):
        y = low + at * height
        canvas.fill(box(-0.1, y, 1.1, y + share * height), accent)
    if c.stripe == "wedge":
        canvas.fill(
            np.array(
                [
                    (0.1, low + 0.3 * height),
                    (c.front_wheel_x, low + 0.62 * height),
                    (0.1, low + 0.62 * height),
                ]
            ),
            accent,
        )
    canvas.line(
        curve(
            [(0.02, belt + c.belt_rise - 0.055), (0.5, belt - 0.05), (0.95, c.nose_height - 0.04)]
        ),
        shade(paint, 0.76),
        0.005,
    )
    sill = DARK if c.cladding else shade(paint, 0.62)
    canvas.fill(box(-0.1, -0.1, 1.1, low + (0.036 if c.cladding else 0.016)), sill)
    for x, way in (
        (c.rear_wheel_x - 1.25 * c.wheel_radius, -1),
        (c.front_wheel_x + 1.25 * c.wheel_radius, 1),
    ):
        y = low + 0.5 * height
        canvas.line(
            np.array([(x, y - 0.01), (x + 0.04 * way, y), (x + 0.3 * way, y)]),
            shade(paint, 0.6),
            0.005,
        )
