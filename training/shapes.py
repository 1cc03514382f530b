"""Draw one sneaker or one car: a flat-shaded product shot in a uniform studio.

A drawing is a function of its spec and of the size alone. Specs are in units of the length of
the object: x runs from 0 (heel, rear) to 1 (toe, front), y from 0 (ground) upwards. Colours are
drawn at twice the size with anti-aliased edges; light, gloss and shadow are computed at the
final size, where they are cheap, and multiplied in at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = tuple[int, int, int]

STUDIO: Colour = (240, 240, 240)
SPAN = 0.85
"""Share of the frame that the length of the object takes."""
SUPERSAMPLING = 2
SUBPIXEL_BITS = 4

COLOURS: dict[str, Colour] = {
    "white": (246, 246, 244),
    "cream": (236, 226, 203),
    "sand": (208, 186, 150),
    "tan": (178, 134, 90),
    "brown": (112, 74, 50),
    "black": (44, 44, 48),
    "graphite": (88, 92, 98),
    "silver": (186, 190, 196),
    "navy": (36, 50, 98),
    "royal": (38, 88, 190),
    "sky": (112, 176, 224),
    "teal": (22, 134, 140),
    "green": (40, 130, 72),
    "olive": (116, 120, 66),
    "lime": (172, 208, 62),
    "yellow": (242, 200, 52),
    "orange": (236, 124, 40),
    "red": (204, 40, 44),
    "burgundy": (120, 28, 50),
    "pink": (236, 140, 168),
    "purple": (112, 72, 160),
}
"""Named colours, RGB."""

GLASS: Colour = (62, 74, 88)
RUBBER: Colour = (44, 44, 46)
DARK: Colour = (34, 34, 37)


@dataclass(frozen=True)
class Sneaker:
    """What one sneaker looks like; lengths in units of the length of the shoe."""

    product_type: str
    body_colour: str
    panel_colour: str
    accent_colour: str
    sole_colour: str
    outsole_colour: str
    lace_colour: str
    lining_colour: str
    collar_height: float
    throat_height: float
    throat_x: float
    collar_dip: float
    heel_curve: float
    toe_height: float
    toe_point: float
    vamp_x: float
    sole_heel: float
    sole_toe: float
    toe_spring: float
    heel_flare: float
    outsole_thickness: float
    tongue_height: float
    lace_rows: int
    lace_width: float
    accent: str
    accent_x: float
    accent_slant: float
    logo: str
    texture: str
    sole_pattern: str
    tread: str
    toe_cap: str
    heel_panel: str
    heel_tab: bool
    pull_tab: bool
    stitching: bool
    eyelets: bool


@dataclass(frozen=True)
class Car:
    """What one car looks like; lengths in units of the length of the car."""

    product_type: str
    body_colour: str
    roof_colour: str
    accent_colour: str
    trim_colour: str
    rim_colour: str
    height: float
    clearance: float
    belt: float
    belt_rise: float
    nose_height: float
    cowl_x: float
    screen_x: float
    roof_rear_x: float
    tail_x: float
    roof_drop: float
    roof_bulge: float
    wheel_radius: float
    front_wheel_x: float
    rear_wheel_x: float
    roundness: float
    window_height: float
    doors: int
    rim: str
    rim_spokes: int
    rim_share: float
    headlight: str
    taillight: str
    handle: str
    stripe: str
    glass_tint: float
    roof_rack: bool
    spoiler: bool
    cladding: bool
    chrome_line: bool
    two_tone: bool
    fog_light: bool
    antenna: bool


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour (RGB, 0..255) darker (factor < 1) or mixed with white (factor > 1)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


@lru_cache(maxsize=16)
def _spline_basis(steps: int) -> Points:
    """Catmull-Rom weights, float64 (steps, 4)."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    powers = np.hstack([t**0, t, t**2, t**3])
    matrix = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    return powers @ matrix


def curve(points: Sequence[tuple[float, float]], steps: int = 8) -> Points:
    """Return a smooth open curve through the points, float64 (M, 2)."""
    p = np.asarray(points, dtype=np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    windows = np.stack([p[:-3], p[1:-2], p[2:-1], p[3:]], axis=1)
    smooth = np.einsum("sk,wkd->wsd", _spline_basis(steps), windows).reshape(-1, 2)
    return np.vstack([smooth, p[-2]])


def rounded(corners: Sequence[tuple[float, float, float]], steps: int = 7) -> Points:
    """Return a closed polygon with round corners, float64 (M, 2); each corner is x, y, radius."""
    c = np.asarray(corners, dtype=np.float64)
    p, r = c[:, :2], c[:, 2:]
    to_last, to_next = np.roll(p, 1, axis=0) - p, np.roll(p, -1, axis=0) - p
    reach = [np.maximum(np.hypot(d[:, 0], d[:, 1])[:, None], 1e-6) for d in (to_last, to_next)]
    start = p + to_last * np.minimum(r / reach[0], 0.5)
    end = p + to_next * np.minimum(r / reach[1], 0.5)
    t = np.linspace(0, 1, steps)[None, :, None]
    bends = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * p[:, None] + t**2 * end[:, None]
    return bends.reshape(-1, 2)


def offset(points: Points, distance: float) -> Points:
    """Return an open curve moved by the distance to the left of its direction, (M, 2)."""
    step = np.gradient(points, axis=0)
    length = np.maximum(np.hypot(step[:, 0], step[:, 1])[:, None], 1e-9)
    return points + distance * np.stack([-step[:, 1], step[:, 0]], axis=1) / length


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Points:
    """Return an ellipse, float64 (28, 2); tilt in radians."""
    a = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    u, v = rx * np.cos(a), ry * np.sin(a)
    c, s = np.cos(tilt), np.sin(tilt)
    return np.stack([x + u * c - v * s, y + u * s + v * c], axis=1)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return a rectangle, float64 (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


@lru_cache(maxsize=32)
def _tile(name: str, side: int) -> Image:
    """Return a cloth texture as a mask, uint8 (side, side), 0 or 255."""
    y, x = np.mgrid[0:side, 0:side] * (512 / side)
    patterns = {
        "mesh": (np.hypot((x + 4 * ((y // 8) % 2)) % 8 - 4, y % 8 - 4) < 2.3),
        "knit": ((y + np.abs(x % 12 - 6)) % 8 < 2.6),
        "perforated": (np.hypot((x + 8 * ((y // 14) % 2)) % 16 - 8, y % 14 - 7) < 2.6),
        "ripstop": ((x + y) % 14 < 1.8) | ((x - y) % 14 < 1.8),
    }
    return patterns[name].astype(np.uint8) * 255


class Canvas:
    """A colour plane at twice the size, a light plane and a gloss plane at the final size."""

    def __init__(self, size: int, height: float) -> None:
        """Open an empty studio.

        Args:
            size: Side of the finished picture, pixels.
            height: Height of the object in units of its length; the object is centred by it.
        """
        self.size = size
        self._side = size * SUPERSAMPLING
        self._scale = self._side * SPAN
        self._left = (self._side - self._scale) / 2
        self._floor = (self._side + self._scale * height) / 2
        self._studio = self._flood(STUDIO)
        self._plane = self._studio
        self._light = np.ones((size, size), np.float32)
        self._gloss = np.zeros((size, size), np.uint8)

    def _flood(self, colour: Colour) -> Image:
        plane = np.empty((self._side, self._side, 3), np.uint8)
        cv2.rectangle(plane, (0, 0), (self._side, self._side), colour, cv2.FILLED)
        return plane

    def _pixels(self, points: Points, factor: float = 1.0) -> NDArray[np.int32]:
        """Units of the object to fixed-point pixels of the plane (times factor)."""
        x = self._left + points[..., 0] * self._scale
        y = self._floor - points[..., 1] * self._scale
        fixed = np.stack([x, y], axis=-1) * factor * (1 << SUBPIXEL_BITS)
        return np.rint(fixed).astype(np.int32)

    def width(self, units: float) -> int:
        """Return a line width in pixels of the plane, at least 1."""
        return max(1, round(units * self._scale))

    def fill(self, points: Points, colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self._plane, [self._pixels(points)], colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def line(self, points: Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw a curve; width in units of the object."""
        cv2.polylines(
            self._plane,
            [self._pixels(points)],
            closed,
            colour,
            self.width(width),
            cv2.LINE_AA,
            SUBPIXEL_BITS,
        )

    def segments(self, pairs: Points, colour: Colour, width: float) -> None:
        """Draw many straight strokes at once, float64 (N, 2, 2)."""
        cv2.polylines(
            self._plane,
            list(self._pixels(pairs)),
            False,
            colour,
            self.width(width),
            cv2.LINE_AA,
            SUBPIXEL_BITS,
        )

    def stitch(self, points: Points, colour: Colour, width: float = 0.0045) -> None:
        """Draw a dashed seam along a curve."""
        self.segments(np.stack([points[:-1], (points[:-1] + points[1:]) / 2], 1), colour, width)

    def texture(self, points: Points, name: str, colour: Colour) -> None:
        """Print a cloth texture inside a polygon."""
        mask = cv2.bitwise_and(self.mask([points]), _tile(name, self._side))
        cv2.copyTo(self._flood(colour), mask, self._plane)

    def mask(self, outlines: Sequence[Points], strokes: float = 0.0) -> Image:
        """Return filled outlines, or open strokes of a width, as a mask, uint8 (side, side)."""
        mask = np.zeros((self._side, self._side), np.uint8)
        pixels = [self._pixels(o) for o in outlines]
        if strokes:
            width = self.width(strokes)
            cv2.polylines(mask, pixels, False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        for polygon in () if strokes else pixels:
            cv2.fillPoly(mask, [polygon], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        return mask

    @contextmanager
    def part(
        self,
        mask: Image,
        colour: Colour,
        *,
        top: float = 1.06,
        bottom: float = 0.9,
        relief: float = 0.25,
        depth: float = 0.05,
    ) -> Iterator[None]:
        """Draw inside a mask: what is drawn in the block is cut at its edge, then lit.

        Args:
            mask: uint8 (side, side), 0 or 255 inside.
            colour: Ground colour of the part, RGB.
            top: Light at the upper end of the part; 1 keeps colours as they are.
            bottom: Light at the lower end.
            relief: How strongly the upper edges catch light and the lower edges lose it.
            depth: How far in the relief reaches, in units of the object.
        """
        outer, self._plane = self._plane, self._flood(colour)
        yield
        cv2.copyTo(self._plane, mask, outer)
        self._plane = outer
        self._shine(mask, top, bottom, relief, depth)

    def _shine(self, mask: Image, top: float, bottom: float, relief: float, depth: float) -> None:
        small = cv2.resize(mask, (self.size, self.size), interpolation=cv2.INTER_AREA)
        x, y, w, h = cv2.boundingRect(small)
        if not w:
            return
        pad = 2 * max(1, round(depth * SPAN * self.size)) + 1
        y0, y1 = max(0, y - pad), min(self.size, y + h + pad)
        x0, x1 = max(0, x - pad), min(self.size, x + w + pad)
        window = small[y0:y1, x0:x1]
        soft = cv2.blur(cv2.blur(window, (pad, pad)), (pad, pad)).astype(np.float32)
        # Light falls from above and a little from the front.
        edges = cv2.Sobel(soft, cv2.CV_32F, 0, 1) + 0.35 * cv2.Sobel(soft, cv2.CV_32F, -0 or 1, 0)
        ramp = np.linspace(0, 1, h, dtype=np.float32)
        column = np.full((y1 - y0, 1), 1.0, np.float32)
        column[y - y0 : y - y0 + h, 0] = top + (bottom - top) * ramp
        light = column + np.clip(edges * (relief * pad / 1020), -0.4, 0.4)
        cover = window.astype(np.float32) * (1 / 255)
        target = self._light[y0:y1, x0:x1]
        target += cover * (light - target)

    def shadow(self, x0: float, x1: float, contacts: Sequence[tuple[float, float]]) -> None:
        """Lay a soft shadow on the ground, darker where the object stands.

        Args:
            x0: Where the shadow starts, units of the object.
            x1: Where it ends.
            contacts: Spans on the ground, (start, end) each.
        """
        side = self.size // 2
        factor = side / self._side
        wide, tight = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
        body = ellipse((x0 + x1) / 2, 0.0, (x1 - x0) / 2, 0.035)
        cv2.fillPoly(wide, [self._pixels(body, factor)], 150, cv2.LINE_AA, SUBPIXEL_BITS)
        for start, end in contacts:
            spot = ellipse((start + end) / 2, 0.002, (end - start) / 2, 0.014)
            cv2.fillPoly(tight, [self._pixels(spot, factor)], 200, cv2.LINE_AA, SUBPIXEL_BITS)
        k = max(3, side // 18 | 1)
        wide = cv2.blur(cv2.blur(wide, (2 * k + 1, k)), (2 * k + 1, k))
        tight = cv2.blur(tight, (k, max(3, k // 3 | 1)))
        dark = cv2.resize(cv2.add(wide, tight), (self.size, self.size))
        self._light -= dark.astype(np.float32) * (0.55 / 255)

    def highlight(self, points: Points, strength: int, width: float = 0.0) -> None:
        """Add a soft white reflection: a filled polygon, or a stroke of a width."""
        layer = np.zeros_like(self._gloss)
        pixels = [self._pixels(points, 1 / SUPERSAMPLING)]
        if width:
            thick = max(1, round(width * SPAN * self.size))
            cv2.polylines(layer, pixels, False, strength, thick, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            cv2.fillPoly(layer, pixels, strength, cv2.LINE_AA, SUBPIXEL_BITS)
        k = max(3, self.size // 60 | 1)
        self._gloss = cv2.add(self._gloss, cv2.blur(layer, (k, k)))

    def finish(self) -> Image:
        """Return the picture, uint8 (size, size, 3), RGB."""
        small = cv2.resize(self._plane, (self.size, self.size), interpolation=cv2.INTER_AREA)
        lit = cv2.multiply(small, cv2.merge([self._light] * 3), dtype=cv2.CV_8U)
        return np.asarray(cv2.add(lit, cv2.merge([self._gloss] * 3)), dtype=np.uint8)
