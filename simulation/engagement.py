"""Simulate engagement with known true probabilities: which candidates convert, and how often.

Rule ``seed``, from the source documents: brighter and rotated images convert with probability
0.8, all others with 0.2, in every campaign and for every target.

Rule ``context``: each campaign type has a best augmentation (0.8) and each industry a second best
(0.5); all others have 0.2. A head without the context therefore cannot reach the ceiling. For
targets to be minimised the probabilities are mirrored: the best augmentation has 0.2.

All sends of a candidate in a campaign have the same probability; outcomes are independent draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augrank.images.augmentations import ORIGINAL
from augrank.models.targets import TARGETS, Direction

Rule = Literal["seed", "context"]
# The nine campaign types and thirteen industries of "Image Optimization Model" (Lau, 2022),
# spelled and ordered as in its table 1. They match regardless of case and separators.
CAMPAIGN_TYPES = (
    "Abandoned Cart",
    "Newsletter",
    "Promotional",
    "Survey",
    "Transactional",
    "Webinar",
    "Engagement",
    "Review_Request",
    "Product Announcement",
)
INDUSTRIES = (
    "Automotive",
    "Industrial",
    "Real Estate",
    "Transportation and Logistics",
    "Finance and Banking",
    "Professional and Business Services",
    "Manufacturing",
    "Film and Motion Picture",
    "Retail",
    "Software and Technology",
    "Hospitality",
    "Healthcare",
    "Academic and Education",
)
LOW, MIDDLE, HIGH = 0.2, 0.5, 0.8
SEED_WINNERS = ("brighter", "rotate")


@dataclass(frozen=True)
class SimulationOptions:
    """Options of the simulation."""

    rule: Rule = "seed"  # see the module's docstring
    sends: int = 1  # of each candidate, each in a separate campaign
    seed: int = 0  # of campaigns and outcomes


@dataclass(frozen=True)
class Engagement:
    """R sends, ordered by original, augmentation and send."""

    original: NDArray[np.int64]  # (R,) index of the original
    augmentation: NDArray[np.int64]  # (R,) index into the set
    campaign_type: NDArray[np.int64]  # (R,) index into CAMPAIGN_TYPES
    industry: NDArray[np.int64]  # (R,) index into INDUSTRIES
    targets: tuple[str, ...]  # T names
    probabilities: NDArray[np.float64]  # (R, T) true probabilities
    outcomes: NDArray[np.uint8]  # (R, T) 0 or 1, drawn from them

    @property
    def ceiling(self) -> NDArray[np.float64]:
        """Return the expected accuracy of the true probabilities, float64 (T,)."""
        best = np.maximum(self.probabilities, 1 - self.probabilities)
        return np.asarray(best.mean(axis=0), np.float64)


def simulate(
    originals: int,
    augmentations: Sequence[str],
    options: SimulationOptions = SimulationOptions(),
) -> Engagement:
    """Send every candidate of every original to campaigns, and draw the outcomes.

    Args:
        originals: number of originals.
        augmentations: the set's names, in order.
        options: rule, number of sends and seed.
    """
    rng = np.random.default_rng(options.seed)
    count = originals * len(augmentations) * options.sends
    original, rest = np.divmod(np.arange(count), len(augmentations) * options.sends)
    augmentation = rest // options.sends
    campaign_type = rng.integers(len(CAMPAIGN_TYPES), size=count)
    industry = rng.integers(len(INDUSTRIES), size=count)
    table = {
        direction: probability_table(augmentations, options.rule, direction)
        for direction in set(TARGETS.values())
    }
    probabilities = np.stack(
        [table[direction][campaign_type, industry, augmentation] for direction in TARGETS.values()],
        axis=1,
    )
    outcomes = (rng.random(probabilities.shape) < probabilities).astype(np.uint8)
    return Engagement(
        original, augmentation, campaign_type, industry, tuple(TARGETS), probabilities, outcomes
    )


def probability_table(
    augmentations: Sequence[str], rule: Rule, direction: Direction
) -> NDArray[np.float64]:
    """Tabulate the true probability by campaign type, industry and augmentation.

    Returns:
        float64 (campaign types, industries, augmentations).
    """
    shape = (len(CAMPAIGN_TYPES), len(INDUSTRIES), len(augmentations))
    table = np.full(shape, LOW)
    if rule == "seed":
        for name in winners(augmentations):
            table[:, :, list(augmentations).index(name)] = HIGH
        return table
    for industry in range(len(INDUSTRIES)):
        table[:, industry, (industry + 1) % len(augmentations)] = MIDDLE
    for campaign_type in range(len(CAMPAIGN_TYPES)):
        table[campaign_type, :, campaign_type % len(augmentations)] = HIGH
    return table if direction == "maximize" else 1 - table


def winners(augmentations: Sequence[str]) -> tuple[str, ...]:
    """Return the augmentations that convert under the rule ``seed``.

    In the seed set these are brighter and rotate; in any other set, every third name except the
    original.
    """
    named = tuple(name for name in augmentations if name in SEED_WINNERS)
    if len(named) == len(SEED_WINNERS):
        return named
    return tuple(name for name in augmentations if name != ORIGINAL)[::3]
