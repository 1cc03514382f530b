"""The specification of a sneaker, and its random sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulation.drawing.sampling import COLOURS, Ranges, chances, contrasts, pick, picks, uniform


@dataclass(frozen=True)
class Sneaker:
    """The specification of one sneaker; lengths in units of the length of the shoe."""

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
    toe_box: float
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

    @property
    def toe_height(self) -> float:
        """The height of the toe box above the ground."""
        return self.sole_toe + 0.7 * self.toe_spring + self.toe_box


SNEAKER_RANGES: dict[str, Ranges] = {
    "running": {
        "collar_height": (0.37, 0.43),
        "toe_box": (0.1, 0.135),
        "sole_heel": (0.115, 0.15),
        "sole_toe": (0.06, 0.085),
        "toe_spring": (0.03, 0.055),
        "outsole_thickness": (0.014, 0.024),
        "toe_point": (0.0, 0.03),
    },
    "basketball": {
        "collar_height": (0.5, 0.61),
        "toe_box": (0.12, 0.155),
        "sole_heel": (0.095, 0.13),
        "sole_toe": (0.07, 0.09),
        "toe_spring": (0.015, 0.035),
        "outsole_thickness": (0.02, 0.034),
        "toe_point": (-0.01, 0.015),
    },
    "skate": {
        "collar_height": (0.335, 0.395),
        "toe_box": (0.105, 0.14),
        "sole_heel": (0.08, 0.1),
        "sole_toe": (0.075, 0.09),
        "toe_spring": (0.0, 0.012),
        "outsole_thickness": (0.016, 0.03),
        "toe_point": (-0.015, 0.01),
    },
    "casual": {
        "collar_height": (0.36, 0.47),
        "toe_box": (0.11, 0.15),
        "sole_heel": (0.085, 0.12),
        "sole_toe": (0.065, 0.09),
        "toe_spring": (0.005, 0.025),
        "outsole_thickness": (0.014, 0.028),
        "toe_point": (-0.01, 0.02),
    },
    "trail": {
        "collar_height": (0.39, 0.49),
        "toe_box": (0.11, 0.145),
        "sole_heel": (0.115, 0.15),
        "sole_toe": (0.075, 0.1),
        "toe_spring": (0.025, 0.045),
        "outsole_thickness": (0.034, 0.05),
        "toe_point": (-0.005, 0.02),
    },
}
"""Ranges that depend on the type, (low, high) each; see `Sneaker` for the units."""


SNEAKER_COMMON: Ranges = {
    "throat_x": (0.34, 0.4),
    "collar_dip": (0.03, 0.075),
    "heel_curve": (0.01, 0.035),
    "vamp_x": (0.63, 0.71),
    "heel_flare": (0.01, 0.045),
    "tongue_height": (0.025, 0.06),
    "lace_width": (0.014, 0.022),
    "accent_x": (0.3, 0.42),
    "accent_slant": (-0.06, 0.14),
}


SNEAKER_CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "running": {
        "texture": ("mesh", "mesh", "knit", "knit", "ripstop"),
        "sole_pattern": ("grooves", "wave", "pods", "wedge", "crystal"),
        "tread": ("segments", "flat", "teeth"),
        "toe_cap": ("none", "mudguard", "bumper", "none"),
    },
    "basketball": {
        "texture": ("none", "perforated", "knit", "mesh"),
        "sole_pattern": ("wedge", "pods", "line", "crystal", "plain"),
        "tread": ("segments", "flat"),
        "toe_cap": ("cap", "mudguard", "none"),
    },
    "skate": {
        "texture": ("none", "none", "perforated"),
        "sole_pattern": ("line", "two lines", "plain"),
        "tread": ("flat", "segments"),
        "toe_cap": ("cap", "none", "mudguard"),
    },
    "casual": {
        "texture": ("none", "none", "perforated", "knit"),
        "sole_pattern": ("plain", "line", "two lines", "grooves"),
        "tread": ("flat", "segments"),
        "toe_cap": ("cap", "none", "mudguard"),
    },
    "trail": {
        "texture": ("ripstop", "mesh", "knit"),
        "sole_pattern": ("crystal", "wedge", "grooves", "wave"),
        "tread": ("lugs", "teeth"),
        "toe_cap": ("bumper", "mudguard", "bumper"),
    },
}


SNEAKER_ACCENTS = (
    "two bars",
    "four bars",
    "wave",
    "chevron",
    "block",
    "zigzag",
    "side line",
    "none",
)


def sample_sneaker(
    rng: np.random.Generator,
    product_type: str,
    *,
    year: int,
    palette: Sequence[str],
    signature: str,
) -> Sneaker:
    """Sample the specification of one sneaker.

    Args:
        rng: The random number generator.
        product_type: One of `SNEAKER_RANGES`.
        year: 1995..2024; soles grow thicker over the years.
        palette: Preferred colours of the upper, names in `COLOURS`.
        signature: Preferred accent of the make, one of `SNEAKER_ACCENTS`.
    """
    lengths = uniform(rng, SNEAKER_RANGES[product_type]) | uniform(rng, SNEAKER_COMMON)
    lengths["sole_heel"] = round(lengths["sole_heel"] * (0.93 + 0.11 * (year - 1995) / 29), 4)
    lengths["throat_height"] = round(lengths["collar_height"] + float(rng.uniform(-0.03, 0.02)), 4)
    body = pick(rng, palette if rng.random() < 0.65 else tuple(COLOURS))
    accent = pick(rng, contrasts(body))
    other = pick(rng, tuple(COLOURS))
    return Sneaker(
        product_type=product_type,
        body_colour=body,
        panel_colour=pick(rng, (body, body, accent, other, "white", "black", "silver", "sand")),
        accent_colour=accent,
        sole_colour=pick(rng, ("white", "white", "white", "cream", "black", body, accent)),
        outsole_colour=pick(rng, ("white", "tan", "black", "graphite", accent, body)),
        lace_colour=pick(rng, ("white", "black", body, accent, "cream")),
        lining_colour=pick(rng, ("white", "black", "graphite", "silver", accent)),
        **lengths,
        **picks(rng, SNEAKER_CHOICES[product_type]),
        accent=signature if rng.random() < 0.6 else pick(rng, SNEAKER_ACCENTS),
        logo=pick(rng, ("none", "circle", "diamond", "bar")),
        heel_panel=pick(rng, ("none", "counter", "wedge", "column")),
        lace_rows=int(rng.integers(5, 8)),
        **chances(rng, {"heel_tab": 0.5, "pull_tab": 0.35, "stitching": 0.65, "eyelets": 0.7}),
    )
