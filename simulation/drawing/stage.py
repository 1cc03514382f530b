"""The stage of a scene: parts with soft shading, drawn in the unit square.

Points are (x, y), from (0, 0) at the upper left corner of the frame to (1, 1) at the lower right
one. Inside `Stage.at`, points are in units of an object that stands on the ground, y upwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import cos, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.drawing.canvas import SUBPIXEL_BITS, Image, Points, box
from simulation.drawing.sampling import Colour

ONE = 1 << SUBPIXEL_BITS

EVERYWHERE: Points = box(-0.4, -0.4, 1.4, 1.4)
"""A rectangle that covers the frame at every tilt."""

BLACK: Colour = (0, 0, 0)


def turned(points: Points, tilt: float) -> Points:
    """Return frame points as a camera sees them that is tilted, degrees, float64 (M, 2)."""
    c, s = cos(radians(tilt)), sin(radians(tilt))
    return np.asarray((points - 0.5) @ np.array([[c, s], [-s, c]]) + 0.5)


def limb(a: Points, b: Points, start: float, end: float) -> Points:
    """Return a tapered capsule between two points, float64 (14, 2); radii at its ends."""
    way = np.arctan2(b[1] - a[1], b[0] - a[0])
    back = way + np.linspace(0.5, 1.5, 7) * np.pi
    front = way + np.linspace(-0.5, 0.5, 7) * np.pi
    tail = a + start * np.stack([np.cos(back), np.sin(back)], 1)
    head = b + end * np.stack([np.cos(front), np.sin(front)], 1)
    return np.concatenate([tail, head])


def tube(a: Points, b: Points, start: float, end: float) -> Points:
    """Return a tapered limb with a round start and a level end, float64 (9, 2)."""
    round_part = limb(a, b, start, end)[:7]
    left, right = b + np.array([(-end, 0.0), (end, 0.0)])
    ends = (left, right) if round_part[0, 0] > round_part[-1, 0] else (right, left)
    return np.concatenate([round_part, np.array(ends)])


class Stage:
    """A picture under construction."""

    def __init__(self, size: int, tilt: float = 0.0) -> None:
        """Open a black picture.

        Args:
            size: Side of the image, pixels.
            tilt: Rotation of the scene, degrees.
        """
        self.size = size
        self.image: Image = np.zeros((size, size, 3), np.uint8)
        self._spares: list[Image] = []
        c, s = cos(radians(tilt)), sin(radians(tilt))
        self._axes = size * np.array([[c, s], [-s, c]])
        self._origin = size / 2 - np.array([0.5, 0.5]) @ self._axes
        self._scale = float(size)
        self._upwards = -1.0

    @contextmanager
    def at(
        self, x: float, y: float, scale: float, *, mirror: bool = False, angle: float = 0.0
    ) -> Iterator[None]:
        """Draw the block in units of an object with its foot at (x, y), y upwards.

        Args:
            x: Where the origin of the object lies, units outside the block.
            y: Its height, units outside the block.
            scale: Length of the object's unit.
            mirror: Whether the object is reversed, left to right.
            angle: Rotation of the object about its origin, degrees.
        """
        outer = self._axes, self._origin, self._scale, self._upwards
        c, s = scale * cos(radians(angle)), scale * sin(radians(angle))
        up = self._upwards
        local = np.array([[-c if mirror else c, up * (s if mirror else -s)], [s, up * c]])
        self._upwards = 1.0
        self._origin = self._origin + np.array([x, y]) @ self._axes
        self._axes = local @ self._axes
        self._scale *= scale
        yield
        self._axes, self._origin, self._scale, self._upwards = outer

    def pixels(self, points: Points) -> NDArray[np.int32]:
        """Return points in pixels, fixed-point, int32 (M, 2)."""
        placed = (self._origin + points @ self._axes - 0.5) * ONE
        return np.asarray(np.rint(np.clip(placed, -(1 << 24), 1 << 24)), np.int32)

    def width(self, units: float) -> int:
        """Return a line width in pixels, at least 1."""
        return max(1, round(units * self._scale))

    def fill(self, points: Points, colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.image, [self.pixels(points)], colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def line(self, points: Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw a polyline; width in the current units."""
        ends = [self.pixels(points)]
        thick = self.width(width)
        cv2.polylines(self.image, ends, closed, colour, thick, cv2.LINE_AA, SUBPIXEL_BITS)

    def lines(self, pairs: Points, colour: Colour, width: float) -> None:
        """Draw many strokes at once, float64 (N, K, 2)."""
        ends = list(self.pixels(pairs.reshape(-1, 2)).reshape(pairs.shape))
        thick = self.width(width)
        cv2.polylines(self.image, ends, False, colour, thick, cv2.LINE_AA, SUBPIXEL_BITS)

    def _window(
        self, outlines: Sequence[Points], pad: int
    ) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
        """Return the window of some outlines and their mask in it, float32, 0..1."""
        pixels = [self.pixels(o) for o in outlines]
        every = np.concatenate(pixels)
        low = np.maximum((every.min(0) >> SUBPIXEL_BITS) - 1 - pad, 0)
        high = np.minimum((every.max(0) >> SUBPIXEL_BITS) + 3 + pad, self.size)
        if (high <= low).any():
            return None
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        for outline in pixels:
            cv2.fillPoly(mask, [outline - low * ONE], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        window = slice(low[1], high[1]), slice(low[0], high[0])
        return window, mask.astype(np.float32) * np.float32(1 / 255)

    @contextmanager
    def part(
        self,
        outlines: Sequence[Points],
        colour: Colour,
        *,
        relief: float = 0.3,
        fade: float = 0.0,
        depth: float = 0.03,
    ) -> Iterator[None]:
        """Draw inside some outlines: the block's drawing is clipped to them, then lit.

        Args:
            outlines: Polygons, each float64 (M, 2); the part is their union.
            colour: Ground colour, RGB.
            relief: How strongly edges towards the light are lit and the others are shaded.
            fade: How much darker the lower end is than the upper one.
            depth: Width of the relief, current units.
        """
        k = max(1, round(depth * self._scale)) * 2 + 1
        found = self._window(outlines, k if relief else 0)
        outer = self.image
        self.image = self._spares.pop() if self._spares else np.zeros_like(outer)
        if found is not None:
            self.image[found[0]] = colour
        yield
        drawn, self.image = self.image, outer
        self._spares.append(drawn)
        if found is not None:
            window, mask = found
            light = _relief(mask, k, relief, fade)
            ground = outer[window]
            lit = np.minimum(drawn[window] * light[..., None], 255)
            outer[window] = ground + mask[..., None] * (lit - ground)

    def solid(
        self,
        outlines: Sequence[Points],
        colour: Colour,
        relief: float = 0.3,
        fade: float = 0.0,
        depth: float = 0.03,
    ) -> None:
        """Draw a plain part; see `part`."""
        with self.part(outlines, colour, relief=relief, fade=fade, depth=depth):
            pass

    def veil(self, points: Points, strength: float, blur: float, colour: Colour = BLACK) -> None:
        """Mix a soft patch of a colour into the picture: a shadow, a gleam.

        Args:
            points: Outline, float64 (M, 2).
            strength: Share of the colour, 0..1.
            blur: Width of the soft edge, current units.
            colour: RGB; black makes a shadow.
        """
        k = max(1, round(blur * self._scale / 2)) * 2 + 1
        found = self._window([points], k)
        if found is None:
            return
        window, mask = found
        soft = cv2.blur(cv2.blur(mask, (k, k)), (k, k))[..., None] * np.float32(strength)
        ground = self.image[window]
        self.image[window] = ground + soft * (np.array(colour, np.float32) - ground)

    def paste(self, picture: Image, cover: Image, corners: Points) -> None:
        """Lay a picture on the stage.

        Args:
            picture: uint8 (h, w, 3), RGB.
            cover: Its opacity, uint8 (h, w).
            corners: Where its corners go: upper left, upper right, lower right, lower left; (4, 2).
        """
        goal = self._origin + corners @ self._axes
        low = np.maximum(np.floor(goal.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(goal.max(0)).astype(int), self.size)
        if (high <= low).any():
            return
        h, w = cover.shape
        source = np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32)
        matrix = cv2.getPerspectiveTransform(source, (goal - low).astype(np.float32))
        shape = int(high[0] - low[0]), int(high[1] - low[1])
        above = cv2.warpPerspective(picture, matrix, shape, flags=cv2.INTER_LINEAR)
        mask = cv2.warpPerspective(cover, matrix, shape, flags=cv2.INTER_LINEAR)
        ground = self.image[low[1] : high[1], low[0] : high[0]]
        share = mask.astype(np.float32)[..., None] * np.float32(1 / 255)
        ground[:] = ground + share * (above.astype(np.float32) - ground)

    def mottle(self, rng: np.random.Generator, amount: float, cells: int = 12) -> None:
        """Multiply the picture by soft noise: 1 - amount to 1 + amount."""
        coarse = rng.uniform(1 - amount, 1 + amount, (cells, cells)).astype(np.float32)
        fine = rng.uniform(1 - amount / 2, 1 + amount / 2, (96, 96)).astype(np.float32)
        shape = self.size, self.size
        soft = cv2.resize(coarse, shape, interpolation=cv2.INTER_CUBIC)
        both = cv2.multiply(soft, cv2.resize(fine, shape))
        mottled = cv2.multiply(self.image, cv2.merge([both] * 3), dtype=cv2.CV_8U)
        self.image = np.asarray(mottled, np.uint8)


def _relief(mask: NDArray[np.float32], k: int, relief: float, fade: float) -> NDArray[np.float32]:
    """Return the light of a part, float32, of the mask's shape; light falls from upper left."""
    light = np.ones_like(mask)
    if fade:
        light *= np.linspace(1 + fade / 2, 1 - fade / 2, len(mask), dtype=np.float32)[:, None]
    if relief:
        soft = cv2.blur(cv2.blur(mask, (k, k)), (k, k))
        edges = cv2.Sobel(soft, cv2.CV_32F, 0, 1) * 0.6 + cv2.Sobel(soft, cv2.CV_32F, 1, 0)
        light += np.clip(edges * (relief * k / 5), -0.45, 0.35)
    return light
