"""The specification of a car, and its random sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulation.drawing.sampling import COLOURS, Ranges, chances, contrasts, pick, picks, uniform


@dataclass(frozen=True)
class Car:
    """The specification of one car; lengths in units of the length of the car."""

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


CAR_RANGES: dict[str, Ranges] = {
    "hatchback": {
        "height": (0.365, 0.405),
        "clearance": (0.045, 0.06),
        "belt": (0.225, 0.25),
        "belt_rise": (0.0, 0.025),
        "nose_height": (0.18, 0.205),
        "cowl_x": (0.74, 0.79),
        "screen_x": (0.57, 0.62),
        "roof_rear_x": (0.13, 0.21),
        "tail_x": (0.015, 0.045),
        "roof_drop": (0.012, 0.035),
        "wheel_radius": (0.075, 0.09),
        "front_wheel_x": (0.8, 0.83),
        "rear_wheel_x": (0.165, 0.19),
    },
    "sedan": {
        "height": (0.29, 0.325),
        "clearance": (0.04, 0.052),
        "belt": (0.195, 0.215),
        "belt_rise": (0.0, 0.02),
        "nose_height": (0.155, 0.175),
        "cowl_x": (0.69, 0.73),
        "screen_x": (0.54, 0.58),
        "roof_rear_x": (0.26, 0.32),
        "tail_x": (0.1, 0.16),
        "roof_drop": (0.008, 0.02),
        "wheel_radius": (0.066, 0.078),
        "front_wheel_x": (0.79, 0.82),
        "rear_wheel_x": (0.18, 0.21),
    },
    "suv": {
        "height": (0.37, 0.415),
        "clearance": (0.06, 0.085),
        "belt": (0.235, 0.26),
        "belt_rise": (0.0, 0.02),
        "nose_height": (0.2, 0.225),
        "cowl_x": (0.71, 0.75),
        "screen_x": (0.57, 0.61),
        "roof_rear_x": (0.05, 0.11),
        "tail_x": (0.01, 0.03),
        "roof_drop": (0.005, 0.02),
        "wheel_radius": (0.078, 0.092),
        "front_wheel_x": (0.8, 0.825),
        "rear_wheel_x": (0.175, 0.2),
    },
    "coupe": {
        "height": (0.265, 0.295),
        "clearance": (0.034, 0.045),
        "belt": (0.18, 0.2),
        "belt_rise": (0.005, 0.025),
        "nose_height": (0.14, 0.16),
        "cowl_x": (0.65, 0.69),
        "screen_x": (0.49, 0.53),
        "roof_rear_x": (0.3, 0.36),
        "tail_x": (0.07, 0.12),
        "roof_drop": (0.01, 0.025),
        "wheel_radius": (0.07, 0.08),
        "front_wheel_x": (0.79, 0.815),
        "rear_wheel_x": (0.185, 0.215),
    },
    "pickup": {
        "height": (0.335, 0.37),
        "clearance": (0.065, 0.09),
        "belt": (0.21, 0.235),
        "belt_rise": (-0.005, 0.005),
        "nose_height": (0.19, 0.21),
        "cowl_x": (0.72, 0.75),
        "screen_x": (0.6, 0.64),
        "roof_rear_x": (0.35, 0.42),
        "tail_x": (0.33, 0.4),
        "roof_drop": (0.004, 0.015),
        "wheel_radius": (0.076, 0.088),
        "front_wheel_x": (0.81, 0.83),
        "rear_wheel_x": (0.185, 0.21),
    },
    "van": {
        "height": (0.4, 0.455),
        "clearance": (0.045, 0.06),
        "belt": (0.225, 0.255),
        "belt_rise": (0.0, 0.008),
        "nose_height": (0.175, 0.2),
        "cowl_x": (0.84, 0.89),
        "screen_x": (0.72, 0.76),
        "roof_rear_x": (0.02, 0.04),
        "tail_x": (0.012, 0.02),
        "roof_drop": (0.003, 0.012),
        "wheel_radius": (0.064, 0.076),
        "front_wheel_x": (0.81, 0.84),
        "rear_wheel_x": (0.165, 0.2),
    },
}
"""Ranges that depend on the body style, (low, high) each; see `Car` for the units."""


CAR_COMMON: Ranges = {
    "roof_bulge": (0.0, 0.01),
    "roundness": (0.0, 0.06),
    "rim_share": (0.66, 0.78),
    "glass_tint": (0.7, 1.25),
}


CAR_DOORS = {
    "hatchback": (2, 4),
    "sedan": (4,),
    "suv": (4,),
    "coupe": (2,),
    "pickup": (2, 4),
    "van": (4,),
}


CAR_CHOICES: dict[str, tuple[str, ...]] = {
    "trim_colour": ("black", "silver", "graphite"),
    "rim_colour": ("silver", "silver", "white", "graphite", "sand"),
    "rim": ("spoke", "twin", "mesh", "turbine", "steel", "dish"),
    "taillight": ("slim", "tall", "hook"),
    "handle": ("body", "chrome", "black"),
    "stripe": ("none", "none", "none", "low", "high", "twin", "wide", "wedge"),
}


CAR_HEADLIGHTS = ("slim", "swept", "tall", "round")


def sample_car(
    rng: np.random.Generator,
    product_type: str,
    *,
    year: int,
    palette: Sequence[str],
    signature: str,
) -> Car:
    """Sample the specification of one car.

    Args:
        rng: The random number generator.
        product_type: One of `CAR_RANGES`.
        year: 1995..2024; wheels and rims grow over the years.
        palette: Preferred body colours of the make, names in `COLOURS`.
        signature: Preferred headlight of the make, one of `CAR_HEADLIGHTS`.
    """
    lengths = uniform(rng, CAR_RANGES[product_type]) | uniform(rng, CAR_COMMON)
    era = (year - 1995) / 29
    lengths["wheel_radius"] = round(lengths["wheel_radius"] * (0.95 + 0.07 * era), 4)
    lengths["rim_share"] = round(lengths["rim_share"] * (0.92 + 0.1 * era), 4)
    body = pick(rng, palette if rng.random() < 0.65 else tuple(COLOURS))
    doors = CAR_DOORS[product_type]
    rugged, boxy = product_type in ("suv", "pickup"), product_type in ("suv", "van")
    return Car(
        product_type=product_type,
        body_colour=body,
        roof_colour=pick(rng, (body, body, body, body, "black", "white")),
        accent_colour=pick(rng, contrasts(body)),
        **lengths,
        **picks(rng, CAR_CHOICES),
        headlight=signature if rng.random() < 0.6 else pick(rng, CAR_HEADLIGHTS),
        doors=doors[int(rng.integers(len(doors)))],
        rim_spokes=int(rng.integers(5, 11)),
        **chances(
            rng,
            {
                "roof_rack": 0.5 if boxy else 0.2 if product_type == "hatchback" else 0.0,
                "spoiler": 0.0 if product_type in ("van", "pickup") else 0.3,
                "cladding": 0.6 if rugged else 0.1,
                "chrome_line": 0.35,
                "two_tone": 0.12,
                "fog_light": 0.5,
                "antenna": 0.4,
            },
        ),
    )
