"""The canvas of a product shot: soft curves, lit parts, shadow and gloss.

Colours are drawn at twice the size with anti-aliased edges; light, gloss and shadow are computed at
the final size, which is cheaper, and multiplied in at the end. Points are in units of the length of
the object: x from 0 (heel, rear) to 1 (toe, front), y from 0 (ground) upwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.drawing.sampling import Colour

Image = NDArray[np.uint8]


Points = NDArray[np.float64]


STUDIO: Colour = (240, 240, 240)


SPAN = 0.85
"""The object's length as a share of the frame."""


SUPERSAMPLING = 2


SUBPIXEL_BITS = 4


HEADROOM, SHADOW_ROOM = 0.06, 0.12
"""Rows kept above and below the object, shares of the frame: antenna, shadow."""


DARK: Colour = (34, 34, 37)


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour (RGB, 0..255) darker (factor < 1) or mixed with white (factor > 1)."""
    if factor <= 1:
        return tuple(int(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(int(c + (255 - c) * (factor - 1)) for c in colour)  # type: ignore[return-value]


@lru_cache(maxsize=16)
def _spline_basis(steps: int) -> Points:
    """Return Catmull-Rom weights, float64 (steps, 4)."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    powers = np.hstack([t**0, t, t**2, t**3])
    matrix = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    return powers @ matrix


def curve(points: Sequence[tuple[float, float]], steps: int = 8) -> Points:
    """Return a smooth open curve through the points, float64 (M, 2)."""
    p = np.empty((len(points) + 2, 2))
    p[1:-1] = points
    p[0], p[-1] = 2 * p[1] - p[2], 2 * p[-2] - p[-3]
    windows = np.stack([p[:-3], p[1:-2], p[2:-1], p[3:]], axis=1)
    smooth = np.empty((len(windows) * steps + 1, 2))
    smooth[:-1] = (_spline_basis(steps) @ windows).reshape(-1, 2)
    smooth[-1] = p[-2]
    return smooth


def rounded(corners: Sequence[tuple[float, float, float]], steps: int = 7) -> Points:
    """Return a closed polygon with round corners, float64 (M, 2); each corner is x, y, radius."""
    c = np.asarray(corners, dtype=np.float64)
    p, r = c[:, :2], c[:, 2:]
    ring = np.concatenate([p[-1:], p, p[:1]])
    to_last, to_next = ring[:-2] - p, ring[2:] - p
    reach = [np.maximum(np.hypot(d[:, 0], d[:, 1])[:, None], 1e-6) for d in (to_last, to_next)]
    start = p + to_last * np.minimum(r / reach[0], 0.5)
    end = p + to_next * np.minimum(r / reach[1], 0.5)
    t = np.linspace(0, 1, steps)[None, :, None]
    bends = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * p[:, None] + t**2 * end[:, None]
    return bends.reshape(-1, 2)


def offset(points: Points, distance: float, taper: float = 0.0) -> Points:
    """Return an open curve moved to the left of its direction, less towards its end, (M, 2)."""
    step = np.empty_like(points)
    step[1:-1] = points[2:] - points[:-2]
    step[0], step[-1] = points[1] - points[0], points[-1] - points[-2]
    length = np.maximum(np.hypot(step[:, 0], step[:, 1])[:, None], 1e-9)
    reach = distance * (1 - taper * np.linspace(0, 1, len(points))[:, None] ** 3)
    return points + reach * (step[:, ::-1] * (-1.0, 1.0)) / length


@lru_cache(maxsize=1)
def _circle() -> Points:
    """Return the unit circle, float64 (28, 2)."""
    a = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([np.cos(a), np.sin(a)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> Points:
    """Return an ellipse, float64 (28, 2); tilt in radians."""
    c, s = cos(tilt), sin(tilt)
    axes = np.array([(rx * c, rx * s), (-ry * s, ry * c)])
    return np.asarray(_circle() @ axes + (x, y))


def moved(points: Points, dx: float, dy: float) -> Points:
    """Return points shifted by (dx, dy)."""
    return np.asarray(points + np.array((dx, dy)))


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return a rectangle, float64 (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


@lru_cache(maxsize=32)
def _tile(name: str, side: int) -> Image:
    """Return a cloth texture as a mask, uint8 (side, side), 0 or 255."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) * np.float32(512 / side)
    patterns = {
        "mesh": (np.hypot((x + 4 * ((y // 8) % 2)) % 8 - 4, y % 8 - 4) < 2.3),
        "knit": ((y + np.abs(x % 12 - 6)) % 8 < 2.6),
        "perforated": (np.hypot((x + 8 * ((y // 14) % 2)) % 16 - 8, y % 14 - 7) < 2.6),
        "ripstop": ((x + y) % 14 < 1.8) | ((x - y) % 14 < 1.8),
    }
    return np.where(patterns[name], np.uint8(255), np.uint8(0))


def _window(mask: Image) -> tuple[slice, slice]:
    """Return the rows and columns that a mask covers."""
    x, y, w, h = cv2.boundingRect(mask)
    return slice(y, y + h), slice(x, x + w)


def _wash(plane: Image, colour: Colour) -> None:
    """Fill a plane with one colour; by rows, which is 40 times as fast as by pixels."""
    plane[:] = np.tile(np.array(colour, np.uint8), (plane.shape[1], 1))


def _paste(below: Image, above: Image, mask: Image) -> None:
    """Copy a plane onto another through a mask, blended only where the mask is soft."""
    cv2.copyTo(above, cv2.inRange(mask, 255, 255), below)
    soft = cv2.findNonZero(cv2.inRange(mask, 1, 254))
    if soft is None:
        return
    x, y = soft.reshape(-1, 2).T
    ground = below[y, x].astype(np.float32)
    share = mask[y, x, None] * np.float32(1 / 255)
    below[y, x] = np.rint(ground + share * (above[y, x] - ground))


class Canvas:
    """A colour plane at twice the size, a light plane and a gloss plane at the final size.

    The planes hold only the rows that the object and its shadow can reach: a wide object leaves
    half of the frame empty.
    """

    def __init__(self, size: int, height: float) -> None:
        """Open an empty studio.

        Args:
            size: Side of the finished image, pixels.
            height: Height of the object in units of its length; the object is centred by it.
        """
        self.size = size
        side, reach = size * SUPERSAMPLING, height * SPAN / 2
        self._top = max(0, int(size * (0.5 - reach - HEADROOM)))
        rows = min(size, int(size * (0.5 + reach + SHADOW_ROOM))) - self._top
        self._shape = (rows, size)
        self._scale = side * SPAN
        self._axes = np.array([self._scale, -self._scale])
        self._origin = (side - self._axes * (1.0, height)) / 2 - (0, self._top * SUPERSAMPLING)
        planes = (3, rows * SUPERSAMPLING, side, 3)
        self._plane, self._spare, self._cloth = np.empty(planes, np.uint8)
        _wash(self._plane, STUDIO)
        self._light = np.ones(self._shape, np.float32)
        self._gloss = np.zeros(self._shape, np.uint8)

    def _pixels(self, points: Points, factor: float = 1.0) -> NDArray[np.int32]:
        """Convert units of the object to fixed-point pixels of the plane (times factor)."""
        centred = (self._origin + points * self._axes) * factor - 0.5
        return np.asarray(np.rint(centred * (1 << SUBPIXEL_BITS)), np.int32)

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
        mask = self.mask([points])
        mask &= _tile(name, mask.shape[1])[: len(mask)]
        window = _window(mask)
        _wash(self._cloth[window], colour)
        cv2.copyTo(self._cloth[window], mask[window], self._plane[window])

    def mask(
        self, outlines: Sequence[Points], strokes: float = 0.0, holes: Sequence[Points] = ()
    ) -> Image:
        """Return filled outlines, or open strokes of a width, as a mask, uint8, 0 or 255."""
        mask = np.zeros(self._plane.shape[:2], np.uint8)
        pixels = [self._pixels(o) for o in outlines]
        if strokes:
            width = self.width(strokes)
            cv2.polylines(mask, pixels, False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        for polygon in () if strokes else pixels:
            cv2.fillPoly(mask, [polygon], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        for hole in holes:
            cv2.fillPoly(mask, [self._pixels(hole)], 0, cv2.LINE_AA, SUBPIXEL_BITS)
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
        """Draw inside a mask: the block's drawing is clipped to the mask, then lit.

        Args:
            mask: The result of `mask`.
            colour: Ground colour of the part, RGB.
            top: Light at the upper end of the part; 1 keeps colours as they are.
            bottom: Light at the lower end.
            relief: How strongly upper edges are lit and lower edges are shaded.
            depth: Width of the relief, in units of the object.
        """
        window = _window(mask)
        outer, self._plane = self._plane, self._spare
        _wash(self._plane[window], colour)
        yield
        self._plane = outer
        _paste(outer[window], self._spare[window], mask[window])
        self._shine(mask, top, bottom, relief, depth)

    def _shine(self, mask: Image, top: float, bottom: float, relief: float, depth: float) -> None:
        small = cv2.resize(mask, self._shape[::-1], interpolation=cv2.INTER_AREA)
        x, y, w, h = cv2.boundingRect(small)
        if not w:
            return
        pad = 2 * max(1, round(depth * SPAN * self.size)) + 1
        y0, y1 = max(0, y - pad), min(len(small), y + h + pad)
        x0, x1 = max(0, x - pad), min(self.size, x + w + pad)
        window = small[y0:y1, x0:x1].astype(np.float32)
        soft = cv2.blur(cv2.blur(window, (pad, pad)), (pad, pad))
        # Light falls from above and a little from the front.
        edges = cv2.Sobel(soft, cv2.CV_32F, 0, 1) - 0.3 * cv2.Sobel(soft, cv2.CV_32F, 1, 0)
        ramp = np.linspace(0, 1, h, dtype=np.float32)
        column = np.full((y1 - y0, 1), 1.0, np.float32)
        column[y - y0 : y - y0 + h, 0] = top + (bottom - top) * ramp
        light = column + np.clip(edges * (relief * pad / 1020), -0.4, 0.4)
        cover = window * (1 / 255)
        target = self._light[y0:y1, x0:x1]
        target += cover * (light - target)

    def shadow(self, x0: float, x1: float, contacts: Sequence[tuple[float, float]]) -> None:
        """Lay a soft shadow on the ground, darker where the object stands.

        Args:
            x0: Where the shadow starts, units of the object.
            x1: Where it ends.
            contacts: Spans on the ground, (start, end) each.
        """
        factor = 0.5 / SUPERSAMPLING
        wide, tight = np.zeros((2, -(-self._shape[0] // 2), -(-self.size // 2)), np.uint8)
        body = ellipse((x0 + x1) / 2, 0.0, (x1 - x0) / 2, 0.035)
        cv2.fillPoly(wide, [self._pixels(body, factor)], 150, cv2.LINE_AA, SUBPIXEL_BITS)
        for start, end in contacts:
            spot = ellipse((start + end) / 2, 0.002, (end - start) / 2, 0.014)
            cv2.fillPoly(tight, [self._pixels(spot, factor)], 200, cv2.LINE_AA, SUBPIXEL_BITS)
        k = max(3, self.size // 36 | 1)
        soft = cv2.blur(cv2.blur(wide, (k, k)), (k, k))
        soft = cv2.add(soft, cv2.blur(tight, (k, max(3, k // 3 | 1))))
        dark = cv2.resize(soft, self._shape[::-1])
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
        self._gloss += np.asarray(cv2.blur(layer, (k, k)), np.uint8)

    def cutout(self) -> tuple[Image, Image]:
        """Return the object without studio and shadow.

        Returns:
            RGB, uint8 (rows, size, 3), and opacity, uint8 (rows, size). The rows are those of
            `finish` that the object and its shadow can reach.
        """
        seen = cv2.absdiff(self._plane, np.full_like(self._plane, STUDIO[0])).max(axis=2)
        outlines, _ = cv2.findContours(
            np.asarray(seen > 3, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cover = np.zeros(seen.shape, np.uint8)
        cv2.drawContours(cover, outlines, -1, 255, cv2.FILLED)
        cover = np.asarray(cv2.erode(cover, np.ones((3, 3), np.uint8)), np.uint8)
        small = cv2.resize(cover, self._shape[::-1], interpolation=cv2.INTER_AREA)
        rows = slice(self._top, self._top + len(small))
        return self.finish()[rows], np.asarray(small, np.uint8)

    def finish(self) -> Image:
        """Return the image, uint8 (size, size, 3), RGB."""
        small = cv2.resize(self._plane, self._shape[::-1], interpolation=cv2.INTER_AREA)
        lit = cv2.multiply(small, cv2.merge([self._light] * 3), dtype=cv2.CV_8U)
        image = np.empty((self.size, self.size, 3), np.uint8)
        _wash(image, STUDIO)
        rows = image[self._top : self._top + len(small)]
        cv2.add(lit, cv2.merge([self._gloss] * 3), rows)
        return image
