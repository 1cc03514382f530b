"""Likes of review photos, with known truth: what people like is known, and so is the chance in it.

log(1 + likes) = followers + appeal + chance. The appeal follows from what the photo shows, the
followers are those of the uploader, and the chance is normal. So of two photos of an uploader the
one with the higher appeal has more likes with a known probability, and a ranking by appeal itself
is the best there can be.
"""

from dataclasses import dataclass

import numpy as np

from simulation.drawing.review import UPLOADER_SIZES, Review
from simulation.drawing.sampling import group_of

APPEAL = {"full-length": 1.0, "half-length": 0.4, "product": 0.0, "package": -0.8}
LIGHT = {"dim": -0.6, "overexposed": -0.5, "warm": 0.4, "neutral": 0.2}
STREET = 0.5
HIDDEN = -0.5  # something is in front of it
FOLLOWERS, FOLLOWERS_SPREAD = 4.0, 1.5
CHANCE = 0.4  # standard deviation


@dataclass(frozen=True)
class Likes:
    """What came of a photo."""

    likes: int
    appeal: float  # the truth


def sample_likes(key: tuple[int, int], index: int, review: Review) -> Likes:
    """Draw the likes of one photo.

    Args:
        key: seed of the catalogue.
        index: position in the catalogue; neighbours share their uploader, who has followers.
        review: what the photo shows.
    """
    appeal = APPEAL[review.kind] + LIGHT.get(review.light.name, 0.0)
    appeal += STREET * (review.setting.place == "street")
    appeal += HIDDEN * (review.occluder.name not in ("none", "mirror"))
    uploader = np.random.default_rng([*key, group_of(key, index, UPLOADER_SIZES), 4])
    followers = uploader.normal(FOLLOWERS, FOLLOWERS_SPREAD)
    chance = np.random.default_rng([*key, index, 3]).normal(0, CHANCE)
    likes = max(0, round(float(np.expm1(followers + appeal + chance))))
    return Likes(likes, round(appeal, 2))
