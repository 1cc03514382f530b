"""Draw a sneaker from its spec, toe to the right."""

from __future__ import annotations

from dataclasses import dataclass

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
    offset,
    rounded,
    shade,
)
from simulation.drawing.sampling import COLOURS, Colour
from simulation.drawing.sneaker import Sneaker


@dataclass(frozen=True)
class _Last:
    """Curves that the parts of a sneaker share, float64 (M, 2) each, from heel to toe."""

    sole_top: Points
    sole_bottom: Points
    heel: Points
    collar: Points
    throat: Points
    toe: Points

    @classmethod
    def of(cls, s: Sneaker) -> _Last:
        x = np.linspace(0, 1, 25)
        toe_top = s.sole_toe + s.toe_spring
        top = s.sole_heel + (toe_top - s.sole_heel) * x * x * (3 - 2 * x)
        top += 0.016 * np.abs(2 * x - 1) ** 3
        bottom = s.toe_spring * np.clip((x - 0.66) / 0.34, 0, 1) ** 2
        bottom += 0.25 * s.sole_heel * np.clip((0.1 - x) / 0.1, 0, 1) ** 2
        back = _back_curve(s)
        vamp, tip = (s.vamp_x, s.toe_height + 0.045), top[-2]
        box_height = s.toe_height - tip
        middle = (0.5 * (s.throat_x + vamp[0]), 0.5 * (s.throat_height + vamp[1]))
        sag = 0.015 + 0.13 * (s.throat_height - 0.36)
        return cls(
            sole_top=np.stack([0.012 + 0.976 * x, top], 1),
            sole_bottom=np.stack([s.heel_flare + (0.985 - s.heel_flare) * x, bottom], 1),
            heel=back[:25],
            collar=back[24:],
            throat=curve(
                [(s.throat_x, s.throat_height), (middle[0] - 0.3 * sag, middle[1] - sag), vamp]
            ),
            toe=curve(
                [
                    vamp,
                    (0.5 * vamp[0] + 0.4, s.toe_height + 0.012),
                    (0.87, s.toe_height - 0.012 - 0.6 * s.toe_point),
                    (0.94, tip + 0.66 * box_height - s.toe_point),
                    (0.977, tip + 0.3 * box_height - 0.5 * s.toe_point),
                    (0.982, tip - 0.01),
                ]
            ),
        )


def _back_curve(s: Sneaker) -> Points:
    """Return heel (the first 25 points) and collar as one smooth curve."""
    high, rise = s.collar_height, s.collar_height - s.sole_heel
    back = 0.04 - s.heel_curve
    return curve(
        [
            (0.036, s.sole_heel),
            (back, s.sole_heel + 0.3 * rise),
            (back + 0.012 + 0.6 * s.heel_curve, s.sole_heel + 0.72 * rise),
            (0.05, high - 0.01),
            (0.088, high),
            (0.14, high - 0.5 * s.collar_dip),
            (0.23, min(high, s.throat_height) - s.collar_dip),
            (s.throat_x - 0.04, s.throat_height - 0.022),
            (s.throat_x, s.throat_height),
        ]
    )


def _join(*curves: Points) -> Points:
    return np.concatenate(curves)


def draw_sneaker(s: Sneaker, size: int) -> Image:
    """Draw a sneaker, toe to the right.

    Args:
        s: The shoe.
        size: Side of the image, pixels.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    return _paint_sneaker(s, size).finish()


def cut_sneaker(s: Sneaker, size: int) -> tuple[Image, Image]:
    """Draw a sneaker without its studio; see `Canvas.cutout`."""
    return _paint_sneaker(s, size).cutout()


def _paint_sneaker(s: Sneaker, size: int) -> Canvas:
    last = _Last.of(s)
    canvas = Canvas(size, max(s.collar_height, s.throat_height + s.tongue_height))
    canvas.shadow(0.03, 0.97, [(s.heel_flare + 0.02, 0.8)])
    _draw_lining(canvas, s, last)
    _draw_tongue(canvas, s, last)
    _draw_upper(canvas, s, last)
    _draw_sole(canvas, s, last)
    _draw_laces(canvas, s, last)
    return canvas


def _draw_lining(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    rim = curve(
        [
            (0.05, s.collar_height - 0.004),
            (0.15, s.collar_height - 0.25 * s.collar_dip),
            (0.26, 0.5 * (s.collar_height + s.throat_height) - 0.35 * s.collar_dip),
            (s.throat_x, s.throat_height),
        ]
    )
    if s.pull_tab:
        loop = ellipse(0.052, s.collar_height + 0.002, 0.017, 0.03, 0.25)
        canvas.line(loop, shade(COLOURS[s.accent_colour], 0.9), 0.012, closed=True)
    colour = shade(COLOURS[s.lining_colour], 0.72)
    with canvas.part(canvas.mask([_join(rim, last.collar[::-1])]), colour, top=0.95, bottom=0.6):
        canvas.line(rim, shade(COLOURS[s.lining_colour], 1.0), 0.016)


def _draw_tongue(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    x, y, up = s.throat_x, s.throat_height, s.tongue_height
    edge = offset(last.throat, 0.024, taper=1.0)
    outline = _join(
        curve([(x + 0.01, y - 0.09), (x - 0.025, y - 0.01), (x - 0.05, y + up - 0.012)]),
        curve([(x - 0.04, y + up), (x - 0.012, y + up - 0.004), (x + 0.028, y + 0.25 * up)]),
        edge[2:],
        last.throat[-1:],
        last.throat[::-1],
    )
    colour = COLOURS[s.panel_colour]
    with canvas.part(canvas.mask([outline]), colour, relief=0.3, bottom=0.85):
        canvas.stitch(offset(edge, -0.012), shade(colour, 0.75))
        canvas.line(
            np.array([(x - 0.045, y + up - 0.022), (x + 0.01, y + up - 0.03)]),
            COLOURS[s.accent_colour],
            0.014,
        )


def _draw_upper(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    outline = _join(
        last.heel, last.collar, last.throat, last.toe, last.sole_top[::-1] - (0.0, 0.01)
    )
    body, accent = COLOURS[s.body_colour], COLOURS[s.accent_colour]
    with canvas.part(canvas.mask([outline]), body, top=1.05, bottom=0.88, relief=0.26, depth=0.07):
        if s.texture != "none":
            canvas.texture(box(0, 0, 1, s.collar_height), s.texture, shade(body, 0.84))
        _draw_accent(canvas, s)
        _draw_heel(canvas, s)
        _draw_toe_cap(canvas, s)
        _draw_eyestay(canvas, s, last)
        canvas.line(last.collar, shade(body, 0.72), 0.02)
        canvas.line(offset(last.collar, -0.022), shade(body, 0.8), 0.004)
        if s.heel_tab:
            y = s.collar_height
            canvas.fill(
                curve([(0.0, y + 0.03), (0.1, y + 0.02), (0.094, y - 0.075), (0.0, y - 0.09)]),
                accent,
            )
        _draw_logo(canvas, s)
        canvas.line(last.sole_top, shade(body, 0.62), 0.012)


def _panel(canvas: Canvas, s: Sneaker, edge: Points, outer: Points, colour: Colour) -> None:
    """Draw a panel of the upper: an open seam edge, closed through outer points."""
    canvas.fill(_join(edge, outer), colour)
    canvas.line(edge, shade(colour, 0.66), 0.0045)
    if s.stitching:
        canvas.stitch(offset(edge, -0.011), shade(colour, 0.78 if sum(colour) > 240 else 1.35))


def _draw_accent(canvas: Canvas, s: Sneaker) -> None:
    colour = COLOURS[s.accent_colour]
    base, top = s.sole_heel - 0.03, 0.85 * s.throat_height
    x, lean = s.accent_x, s.accent_slant
    if s.accent in ("two bars", "four bars"):
        count, width = (2, 0.045) if s.accent == "two bars" else (4, 0.02)
        for i in range(count):
            a = x + i * 1.75 * width
            bar = np.array([(a, base), (a + width, base), (a + width + lean, top), (a + lean, top)])
            canvas.fill(bar, colour)
            canvas.line(bar, shade(colour, 0.7), 0.004, closed=True)
    elif s.accent == "wave":
        u = np.linspace(0, 1, 20)
        line = np.stack(
            [0.02 + 0.75 * u, base + 0.09 + 0.035 * np.sin(7 * u + 20 * lean) + 0.05 * u], 1
        )
        canvas.fill(_join(line, moved(line, 0, 0.035)[::-1]), colour)
    elif s.accent == "chevron":
        for a in (x, x + 0.075):
            tip = (a + 0.09, 0.5 * (base + top))
            line = np.array([(a, base), tip, (a, top)])
            canvas.fill(_join(line, moved(line, 0.04, 0)[::-1]), colour)
    elif s.accent == "block":
        edge = curve([(x + 0.12 + lean, top + 0.1), (x + 0.1, 0.5 * (base + top)), (x + 0.2, base)])
        _panel(canvas, s, edge, np.array([(0.0, base - 0.1), (0.0, top + 0.3)]), colour)
    elif s.accent == "zigzag":
        xs = np.linspace(x - 0.08, x + 0.2, 7)
        ys = np.where(np.arange(7) % 2, 0.62, 0.38) * (base + top)
        canvas.line(np.stack([xs, ys], 1), colour, 0.018)
    elif s.accent == "side line":
        canvas.line(
            curve([(0.1, base + 0.11), (0.4, base + 0.075), (0.75, base + 0.07)]), colour, 0.022
        )


def _draw_heel(canvas: Canvas, s: Sneaker) -> None:
    if s.heel_panel == "none":
        return
    colour = COLOURS[s.panel_colour]
    base, top = s.sole_heel - 0.03, s.collar_height
    edges = {
        "counter": [(0.0, 0.72 * top), (0.1, 0.7 * top), (0.19, base + 0.1), (0.28, base)],
        "wedge": [(0.0, 0.55 * top), (0.12, 0.5 * top), (0.3, base + 0.03), (0.4, base)],
        "column": [(0.13, top + 0.05), (0.1, 0.7 * top), (0.13, base + 0.06), (0.15, base)],
    }
    _panel(canvas, s, curve(edges[s.heel_panel]), np.array([(-0.1, base), (-0.1, top)]), colour)


def _draw_toe_cap(canvas: Canvas, s: Sneaker) -> None:
    colour = COLOURS[s.panel_colour]
    base, high = s.sole_toe - 0.05, s.toe_height
    if s.toe_cap == "cap":
        edge = curve([(0.765, high + 0.1), (0.79, 0.8 * high), (0.78, 0.55 * high), (0.74, base)])
        _panel(canvas, s, edge[::-1], np.array([(1.1, high + 0.1), (1.1, base)]), colour)
    elif s.toe_cap == "mudguard":
        edge = curve([(1.02, 0.82 * high), (0.9, 0.68 * high), (0.72, 0.62 * high), (0.5, base)])
        _panel(canvas, s, edge[::-1], np.array([(1.1, high), (1.1, base)]), colour)
    elif s.toe_cap == "bumper":
        edge = curve([(0.93, high), (0.925, 0.75 * high), (0.88, 0.55 * high), (0.8, base)])
        colour = COLOURS[s.outsole_colour]
        _panel(canvas, s, edge[::-1], np.array([(1.1, high), (1.1, base)]), colour)


def _draw_eyestay(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    """Draw the strip along the throat that holds the eyelets."""
    colour = COLOURS[s.panel_colour]
    inner = offset(last.throat, -0.062)
    front = curve([tuple(inner[-2]), tuple(last.throat[-1] + (0.035, -0.015)), (s.vamp_x, 0.9)])
    edge = _join(np.array([(s.throat_x - 0.05, s.throat_height + 0.05)]), inner[:-1], front[:-1])
    _panel(canvas, s, edge[::-1], np.array([(s.throat_x, 0.9), (s.vamp_x, 0.9)]), colour)


def _draw_logo(canvas: Canvas, s: Sneaker) -> None:
    x, y = 0.2, 0.5 * (s.sole_heel + s.collar_height - s.collar_dip) + 0.02
    accent, edge = COLOURS[s.accent_colour], shade(COLOURS[s.panel_colour], 0.9)
    if s.logo == "circle":
        canvas.fill(ellipse(x, y, 0.034, 0.034), accent)
        canvas.line(ellipse(x, y, 0.023, 0.023), edge, 0.006, closed=True)
    elif s.logo == "diamond":
        r = 0.036
        canvas.fill(np.array([(x - r, y), (x, y + r), (x + r, y), (x, y - r)]), accent)
        r = 0.018
        canvas.fill(np.array([(x - r, y), (x, y + r), (x + r, y), (x, y - r)]), edge)
    elif s.logo == "bar":
        canvas.fill(
            rounded(
                [
                    (x - 0.05, y - 0.015, 0.01),
                    (x + 0.05, y - 0.015, 0.01),
                    (x + 0.05, y + 0.015, 0.01),
                    (x - 0.05, y + 0.015, 0.01),
                ]
            ),
            accent,
        )


def _draw_sole(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    middle, outer = COLOURS[s.sole_colour], COLOURS[s.outsole_colour]
    top, bottom = last.sole_top, last.sole_bottom
    heel = curve([tuple(bottom[0]), (0.0, 0.55 * s.sole_heel), tuple(top[0])])
    mid_toe = 0.5 * (top[-1, 1] + bottom[-1, 1])
    toe = curve([tuple(top[-1]), (1.0, mid_toe + 0.01), tuple(bottom[-1])])
    outline = _join(heel, top, toe, bottom[::-1])
    with canvas.part(
        canvas.mask([outline], holes=_tread_cuts(s, bottom)),
        middle,
        top=1.08,
        bottom=0.84,
        relief=0.2,
        depth=0.03,
    ):
        _draw_sole_pattern(canvas, s, last)
        tread = moved(bottom, 0, s.outsole_thickness)
        canvas.fill(_join(tread, moved(bottom, 0, -0.05)[::-1]), outer)
        canvas.line(tread, shade(outer, 0.7), 0.004)
        canvas.line(offset(top, -0.012), shade(middle, 0.86), 0.0045)
        if s.tread == "segments":
            cuts = np.stack([bottom, moved(bottom, 0.006, s.outsole_thickness)], 1)[1:-1]
            canvas.segments(cuts, shade(outer, 0.6), 0.006)


def _draw_sole_pattern(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    colour, accent = COLOURS[s.sole_colour], COLOURS[s.accent_colour]
    top, bottom = last.sole_top, moved(last.sole_bottom, 0, s.outsole_thickness)

    def level(share: float) -> Points:
        return bottom + share * (top - bottom)

    if s.sole_pattern == "grooves":
        canvas.segments(np.stack([level(0.15), level(0.7)], 1)[1:-1], shade(colour, 0.8), 0.007)
    elif s.sole_pattern == "line":
        canvas.line(level(0.62), accent, 0.013)
    elif s.sole_pattern == "two lines":
        canvas.line(level(0.7), accent, 0.007)
        canvas.line(level(0.45), accent, 0.007)
    elif s.sole_pattern == "wave":
        wave = level(0.45) + np.stack([np.zeros(25), 0.016 * np.sin(np.linspace(0, 22, 25))], 1)
        canvas.line(curve([tuple(p) for p in wave], 3), shade(colour, 0.78), 0.008)
    elif s.sole_pattern == "pods":
        for p in level(0.42)[2:12:2]:
            canvas.fill(ellipse(p[0], p[1], 0.026, 0.014), shade(accent, 0.95))
            canvas.line(ellipse(p[0], p[1], 0.026, 0.014), shade(colour, 0.7), 0.004, closed=True)
    elif s.sole_pattern == "wedge":
        upper = level(0.95)[:15]
        canvas.fill(_join(upper, bottom[14:15], bottom[:1]), accent)
        canvas.line(_join(upper[12:], bottom[14:15]), shade(accent, 0.7), 0.004)
    elif s.sole_pattern == "crystal":
        zig = np.where((np.arange(25) % 2)[:, None], level(0.72), level(0.2))
        canvas.line(zig, shade(colour, 0.82), 0.006)


def _tread_cuts(s: Sneaker, bottom: Points) -> list[Points]:
    """Return the gaps between the lugs of the outsole, polygons."""
    if s.tread not in ("lugs", "teeth"):
        return []
    wide, deep = (0.018, 0.7) if s.tread == "lugs" else (0.011, 0.5)
    high = deep * s.outsole_thickness
    gap = np.array([(-0.5, -0.02), (-0.3, high), (0.3, high), (0.5, -0.02)]) * (wide, 1)
    return [p + gap for p in bottom[1:-1]]


def _draw_laces(canvas: Canvas, s: Sneaker, last: _Last) -> None:
    at = np.linspace(0.06, 0.9, s.lace_rows) * (len(last.throat) - 1)
    index = np.arange(len(last.throat))

    def along(curve_: Points, shift: float = 0.0) -> Points:
        return np.stack([np.interp(at + shift, index, curve_[:, axis]) for axis in (0, 1)], axis=1)

    holes = along(offset(last.throat, -0.03))
    over = along(offset(last.throat, 0.026), -0.5)
    colour = COLOURS[s.lace_colour]
    if s.eyelets:
        for x, y in holes - (0.0, 0.004):
            canvas.fill(ellipse(x, y, 0.0125, 0.0125), shade(COLOURS[s.accent_colour], 0.85))
            canvas.fill(ellipse(x, y, 0.007, 0.007), DARK)
    bars = [
        curve([tuple(a), tuple(0.5 * (a + b) + (0.004, 0.006)), tuple(b)], 4)
        for a, b in zip(holes, over, strict=True)
    ]
    for bar in bars:
        canvas.line(bar - (0.001, 0.005), shade(COLOURS[s.panel_colour], 0.55), s.lace_width)
    with canvas.part(
        canvas.mask(bars, s.lace_width), colour, top=1.05, bottom=0.95, relief=0.3, depth=0.012
    ):
        pass
