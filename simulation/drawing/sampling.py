"""Named colours and random sampling, shared by the specs of sneakers and cars."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

Colour = tuple[int, int, int]
Ranges = dict[str, tuple[float, float]]

# RGB
COLOURS: dict[str, Colour] = {
    "white": (236, 237, 238),
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


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """Sample one of the options."""
    return options[int(rng.integers(len(options)))]


def uniform(rng: np.random.Generator, ranges: Ranges) -> dict[str, Any]:
    """Sample a number uniformly from each range, rounded to 4 decimals."""
    return {name: round(float(rng.uniform(*ends)), 4) for name, ends in ranges.items()}


def picks(rng: np.random.Generator, options: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Sample one of the options of each name."""
    return {name: pick(rng, values) for name, values in options.items()}


def chances(rng: np.random.Generator, chances: dict[str, float]) -> dict[str, Any]:
    """Sample True or False for each name, True with its probability."""
    return {name: bool(rng.random() < share) for name, share in chances.items()}


@cache
def contrasts(name: str, least: int = 110) -> tuple[str, ...]:
    """Return the colours that contrast with a colour: RGB distance of at least `least`."""
    home = np.array(COLOURS[name])
    return tuple(n for n, c in COLOURS.items() if np.linalg.norm(home - np.array(c)) >= least)


def colour_of(name: str) -> Colour:
    """Return a colour by its name in `COLOURS`, or by its code #rrggbb."""
    if name.startswith("#"):
        return int(name[1:3], 16), int(name[3:5], 16), int(name[5:7], 16)
    return COLOURS[name]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour by hue, saturation and value, 0..1 each."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return int(255 * r), int(255 * g), int(255 * b)


def group_of(key: Sequence[int], index: int, sizes: Sequence[int]) -> int:
    """Return the group of an index: groups are runs of indices, of shuffled sizes.

    Args:
        key: Seed of the shuffles.
        index: Position in the catalogue, 0 or more.
        sizes: Sizes of the groups, which repeat in another order after their sum.
    """
    block, offset = divmod(index, sum(sizes))
    order = np.random.default_rng([*key, block, 2]).permutation(np.asarray(sizes))
    return block * len(sizes) + int(np.searchsorted(np.cumsum(order), offset, side="right"))
