"""Simulated engagement, where the truth is known: which candidates convert, and how often.

Rule ``seed``, that of the first experiments: brighter or rotated images convert with 80 %, all
others with 20 %, whatever the campaign, in every target.

Rule ``context``: each campaign type has one augmentation that works best (80 %), each industry a
second best (50 %), the rest stay at 20 %. So a head without the context cannot reach the ceiling.
For targets to be minimised the probabilities are mirrored: the best has 20 %.

A probability is the same for every send; outcomes are independent draws.
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
# spelled and ordered as in its table 1. They match whatever their case and separators.
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
class Engagement:
    """R sends: originals x augmentations x sends, in that order."""

    original: NDArray[np.int64]  # (R,) number of the original
    augmentation: NDArray[np.int64]  # (R,) number in the set
    campaign_type: NDArray[np.int64]  # (R,) into CAMPAIGN_TYPES
    industry: NDArray[np.int64]  # (R,) into INDUSTRIES
    targets: tuple[str, ...]  # T
    probabilities: NDArray[np.float64]  # (R, T) the truth
    outcomes: NDArray[np.uint8]  # (R, T) drawn: 0 or 1

    @property
    def ceiling(self) -> NDArray[np.float64]:
        """Expected accuracy of a predictor that knows the truth, float64 (T,)."""
        best = np.maximum(self.probabilities, 1 - self.probabilities)
        return np.asarray(best.mean(axis=0), np.float64)


def simulate(
    originals: int, augmentations: Sequence[str], *, sends: int = 1, rule: Rule = "seed",
    seed: int = 0,
) -> Engagement:  # fmt: skip
    """Send every candidate of every original to ``sends`` campaigns.

    Args:
        originals: how many.
        augmentations: the set's names, in order.
        sends: of each candidate, each to a campaign of its own.
        rule: see the module's docstring.
        seed: of campaigns and outcomes.
    """
    rng = np.random.default_rng(seed)
    count = originals * len(augmentations) * sends
    original, rest = np.divmod(np.arange(count), len(augmentations) * sends)
    augmentation = rest // sends
    campaign_type = rng.integers(len(CAMPAIGN_TYPES), size=count)
    industry = rng.integers(len(INDUSTRIES), size=count)
    table = {
        direction: probability_table(augmentations, rule, direction)
        for direction in set(TARGETS.values())
    }
    probabilities = np.stack(
        [table[way][campaign_type, industry, augmentation] for way in TARGETS.values()], axis=1
    )
    outcomes = (rng.random(probabilities.shape) < probabilities).astype(np.uint8)
    return Engagement(
        original, augmentation, campaign_type, industry, tuple(TARGETS), probabilities, outcomes
    )


def probability_table(
    augmentations: Sequence[str], rule: Rule, direction: Direction
) -> NDArray[np.float64]:
    """True probability for every campaign type, industry and augmentation.

    Returns:
        float64 (campaign types, industries, augmentations).
    """
    shape = (len(CAMPAIGN_TYPES), len(INDUSTRIES), len(augmentations))
    table = np.full(shape, LOW)
    if rule == "seed":
        for name in winners(augmentations):
            table[:, :, list(augmentations).index(name)] = HIGH
        return table
    for place in range(len(INDUSTRIES)):
        table[:, place, (place + 1) % len(augmentations)] = MIDDLE
    for place in range(len(CAMPAIGN_TYPES)):
        table[place, :, place % len(augmentations)] = HIGH
    return table if direction == "maximize" else 1 - table


def winners(augmentations: Sequence[str]) -> tuple[str, ...]:
    """Augmentations that convert under the rule ``seed``.

    The seed set's are brighter and rotate; of any other set every third name that is not the
    original, at least one where there is any.
    """
    named = tuple(name for name in augmentations if name in SEED_WINNERS)
    if len(named) == len(SEED_WINNERS):
        return named
    return tuple(name for name in augmentations if name != ORIGINAL)[::3]
