"""Twelve colour classes of cars: the paints of each, with shades between them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.drawing.sampling import Colour

# RGB
PAINTS: dict[str, tuple[Colour, ...]] = {
    "black": ((22, 22, 25), (36, 36, 40), (30, 33, 38), (42, 42, 43), (44, 42, 42)),
    "blue": ((30, 46, 104), (38, 88, 190), (96, 150, 210), (24, 110, 160), (22, 28, 62)),
    "brown": ((100, 66, 44), (74, 50, 36), (178, 140, 98), (198, 174, 136), (112, 58, 42)),
    "burgundy": ((106, 22, 40), (88, 20, 30), (134, 28, 48), (96, 26, 48), (74, 20, 34)),
    "green": ((34, 104, 62), (24, 56, 40), (106, 150, 70), (96, 108, 58), (60, 140, 100)),
    "grey": ((190, 193, 197), (146, 150, 154), (100, 104, 108), (70, 72, 76), (168, 168, 166)),
    "orange": ((232, 112, 34), (214, 92, 24), (240, 138, 50), (200, 98, 44), (206, 78, 36)),
    "pink": ((238, 150, 176), (226, 96, 150), (240, 190, 200), (206, 118, 142)),
    "purple": ((104, 62, 150), (76, 44, 112), (140, 96, 176), (90, 40, 92)),
    "red": ((204, 30, 36), (166, 24, 32), (222, 50, 44), (186, 36, 48), (158, 28, 28)),
    "white": ((240, 241, 242), (233, 234, 233), (238, 230, 212), (229, 232, 236)),
    "yellow": ((242, 204, 48), (226, 186, 40), (248, 222, 92), (216, 190, 84)),
}
"""Several paints of each class: grey includes silver, blue includes navy, brown includes beige,
white includes cream."""

COLOUR_CLASSES: tuple[str, ...] = tuple(PAINTS)

JITTER = (3.2, 3.0, 3.0)
"""Standard deviations of L, a and b around a paint."""


def to_lab(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return colours in CIE Lab, float32 (N, 3), of RGB, uint8 (N, 3)."""
    scaled = (colours.astype(np.float32) / 255)[None]
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2Lab)[0], np.float32)


def sample_paint(rng: np.random.Generator, name: str) -> Colour:
    """Sample a paint of a colour class, one of `COLOUR_CLASSES`."""
    paints = PAINTS[name]
    home = np.array([paints[int(rng.integers(len(paints)))]], np.uint8)
    spread = np.multiply(JITTER, np.clip(rng.normal(0, 1, 3), -1.8, 1.8))
    if name in ("black", "grey", "white"):
        spread[1:] *= 0.4
    lab = to_lab(home) + np.asarray(spread, np.float32)
    rgb = cv2.cvtColor(lab[None].astype(np.float32), cv2.COLOR_Lab2RGB)[0, 0]
    r, g, b = (int(c) for c in np.clip(np.rint(255 * rgb), 4, 250))
    return r, g, b


def hexadecimal(colour: Colour) -> str:
    """Return a colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
