"""Simulated worlds: what decides outcomes is known, so every answer can be checked.

A world has images, each in A versions (the first is the original), and C campaigns. The true
probability of a version of an image in a campaign is

    log odds = table[campaign, version] + what the image and its version add

The rule fills the table, or lets the image decide. Embeddings are synthetic: an image's features,
plus what the version does to them, plus noise.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.models.head import HeadRows
from simulation.engagement import CAMPAIGN_TYPES, HIGH, LOW, SEED_WINNERS

# The seed set of augmentations; the first is the unchanged image.
VERSIONS = ("original", "brighter", "darker", "rotate", "sketch", "swivel")
FEATURES, TELLING_FEATURES = 32, 4  # of an embedding; of these, that an image's effect depends on
VERSION_SHIFT, FEATURE_NOISE = 0.7, 0.3  # of features; an image's own vary by 1
LOGIT_OF_OWN = 3.0  # recognition is right most of the time
ROWS_PER_ORIGINAL = 24  # sends of one original, its versions in turn
CATALOGUE = 219  # images of an alternates index
LIFT, LIFTED = 0.2, 1  # relative lift of the one version that helps, and its number
FAMILY_LEVEL, AMPLE_POWER = 0.05, 0.99  # of the fixed test that defines ample data
GAIN_OF_LOOK = 0.7  # log odds, that one version adds or takes away, as the image's features show
MAIN_DEVIATION, INTERACTION_DEVIATION = 0.4, 0.2  # of the effects of the rule normal, log odds

Rule = Literal["nothing", "seed", "context", "lift", "normal", "image", "features", "look"]
Options = Literal["candidates", "alternates"]


@dataclass(frozen=True)
class World:
    """What decides outcomes, and how much history there is."""

    name: str
    title: str
    originals: int
    rule: Rule = "nothing"
    rate: float = LOW  # where nothing adds to it
    trials: int = 1  # of each row of the history
    image_deviation: float = 0.0  # of what an image adds and its features do not show, log odds
    version_deviation: float = 0.0  # of what a version of it adds, likewise
    unchanged_only: float = 0.0  # share of the originals of which no other version was sent
    options: Options = "candidates"
    known: bool = False  # requests are about originals, which have outcomes

    def table(self, rng: np.random.Generator) -> Float64Array:
        """Return the log odds by campaign and version, (C, A)."""
        table = np.full((len(CAMPAIGN_TYPES), len(VERSIONS)), _log_odds(self.rate))
        if self.rule == "seed":
            table[:, [VERSIONS.index(name) for name in SEED_WINNERS]] = _log_odds(HIGH)
        elif self.rule == "context":
            campaigns = np.arange(len(table))
            table[campaigns, campaigns % len(VERSIONS)] = _log_odds(HIGH)
        elif self.rule == "lift":
            table[:, LIFTED] = _log_odds(self.rate * (1 + LIFT))
        elif self.rule == "normal":
            table += MAIN_DEVIATION * rng.normal(size=len(VERSIONS))
            table += MAIN_DEVIATION * rng.normal(size=(len(table), 1))
            table += INTERACTION_DEVIATION * rng.normal(size=table.shape)
        return table

    def of_features(self, features: Float64Array, rng: np.random.Generator) -> Float64Array:
        """Return what versions of images add that their features show, log odds, (I, A).

        Args:
            features: (I, FEATURES), standard normal.
            rng: draws the direction that matters.
        """
        weight = rng.normal(size=TELLING_FEATURES)
        side = features[:, :TELLING_FEATURES] @ weight / np.linalg.norm(weight)
        shown = np.zeros((len(features), len(VERSIONS)))
        if self.rule == "image":
            shown += np.where(side > 0, _log_odds(HIGH), _log_odds(LOW))[:, None]
        elif self.rule == "features":
            shown += side[:, None]
        elif self.rule == "look":
            shown[:, LIFTED] = np.where(side > 0, GAIN_OF_LOOK, -GAIN_OF_LOOK)
        return shown


@dataclass(frozen=True, eq=False)
class Population:
    """The images of one world, drawn at random, and the truth about them."""

    table: Float64Array  # (C, A) log odds
    seen: Float64Array  # (I, A) what an image and its version add and features show, log odds
    unseen: Float64Array  # (I, A) what it and its version add and nothing shows before outcomes
    features: Float32Array  # (I, A, FEATURES)
    logits: Float32Array  # (I, A, A)

    @classmethod
    def draw(cls, world: World, images: int, rng: np.random.Generator) -> Self:
        """Draw this many images."""
        versions = len(VERSIONS)
        table = world.table(rng)
        own = rng.normal(size=(images, FEATURES))
        seen = world.of_features(own, rng)
        unseen = world.image_deviation * rng.normal(size=(images, 1))
        unseen = unseen + world.version_deviation * rng.normal(size=(images, versions))
        shift = VERSION_SHIFT * rng.normal(size=(versions, FEATURES))
        noise = FEATURE_NOISE * rng.normal(size=(images, versions, FEATURES))
        logits = LOGIT_OF_OWN * np.eye(versions) + rng.normal(size=(images, versions, versions))
        features = own[:, None] + shift + noise
        return cls(table, seen, unseen, features.astype(np.float32), logits.astype(np.float32))

    def probability(
        self,
        image: NDArray[np.int64],
        version: NDArray[np.int64],
        campaign: NDArray[np.int64] | int,
    ) -> Float64Array:
        """Return the true probability of rows, (N,)."""
        odds = self.table[campaign, version] + self.seen[image, version]
        return _probability(odds + self.unseen[image, version])

    def expected(
        self, image: NDArray[np.int64], version: NDArray[np.int64], campaign: int
    ) -> Float64Array:
        """Return the same without what nothing shows before outcomes, (N,)."""
        return _probability(self.table[campaign, version] + self.seen[image, version])

    def rows(self, image: NDArray[np.int64], version: NDArray[np.int64], campaign: int) -> HeadRows:
        """Return the inputs of heads: versions of images in one campaign."""
        context = np.eye(len(CAMPAIGN_TYPES), dtype=np.float32)[campaign]
        return HeadRows(
            version, self.logits[image, version], self.features[image, version], context
        )


@dataclass(frozen=True)
class Case:
    """A decision to take: N options in one campaign; the first is the request's image."""

    rows: HeadRows
    truth: Float64Array  # (N,) true probabilities
    expected: Float64Array  # (N,) the same without what nothing shows before outcomes
    known: int | None = None  # the request's image in the catalogue, if it is there


def cases(world: World, population: Population, count: int) -> list[Case]:
    """Return decisions about images; each campaign as often as any other.

    The options are the versions of the image, or the image and the catalogue of all originals.

    Args:
        world: its originals come first in the population, then images without outcomes.
        population: has ``count`` images more than the world has originals.
        count: number of decisions.
    """
    made = []
    for number in range(count):
        campaign = number % len(CAMPAIGN_TYPES)
        known = number * world.originals // count if world.known else None
        own = world.originals + number if known is None else known
        if world.options == "candidates":
            version = np.arange(len(VERSIONS))
            image = np.full(len(version), own)
        else:
            image = np.append(own, np.setdiff1d(np.arange(world.originals), own))
            version = np.zeros(len(image), np.int64)
        row = image, version, campaign
        made.append(
            Case(
                population.rows(*row),
                population.probability(*row),
                population.expected(*row),
                known,
            )
        )
    return made


def ample_trials(rate: float, originals: int) -> int:
    """Return the trials of each row that make the history ample for a lift of LIFT.

    With them, a fixed test of all versions against the original (one-sided, Bonferroni), which
    knows nothing but the counts, finds the lift with a probability of AMPLE_POWER: about twice the
    data that a single test of two versions needs for 90 %.
    """
    normal, lifted = NormalDist(), rate * (1 + LIFT)
    quantiles = normal.inv_cdf(1 - FAMILY_LEVEL / (len(VERSIONS) - 1)) + normal.inv_cdf(AMPLE_POWER)
    variance = rate * (1 - rate) + lifted * (1 - lifted)
    sends = variance * (quantiles / (lifted - rate)) ** 2  # of each version
    rows = originals * ROWS_PER_ORIGINAL / len(VERSIONS)
    return math.ceil(sends / rows)


def _probability(odds: Float64Array) -> Float64Array:
    return np.asarray(1 / (1 + np.exp(-odds)), np.float64)


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _sizes(name: str, title: str, rule: Rule) -> list[World]:
    return [World(f"{name}-{count}", title, count, rule) for count in (1000, 200, 44)]


def _lifts(image_deviation: float) -> list[World]:
    suffix = "-images" if image_deviation else ""
    return [
        World(
            f"rate-{rate:g}{suffix}",
            f"one version lifts a rate of {100 * rate:g} % by {100 * LIFT:g} %, ample data"
            + (", images differ" if image_deviation else ""),
            200,
            "lift",
            rate,
            ample_trials(rate, 200),
            image_deviation,
        )
        for rate in (0.002, 0.025, 0.2)
    ]


IMAGE_DEVIATION = 0.7  # a standard deviation doubles the odds
ALTERNATES: Options = "alternates"
WORLDS = (
    *_sizes("nothing", "nothing helps", "nothing"),
    World("nothing-images", "nothing helps, images differ", 200, image_deviation=IMAGE_DEVIATION),
    *_sizes("seed", "two versions convert at 80 %, others at 20 %", "seed"),
    *_sizes("context", "each campaign type has its best version", "context"),
    World("image", "the image itself decides", 200, "image", rate=0.5),
    *_lifts(0.0),
    *_lifts(IMAGE_DEVIATION),
    World(
        "versions-images",
        "each version helps some images and harms others",
        200,
        rate=0.1,
        trials=20,
        image_deviation=IMAGE_DEVIATION,
        version_deviation=0.4,
    ),
    World(
        "versions-thin",
        "the same, with a tenth of the outcomes",
        200,
        rate=0.1,
        trials=2,
        image_deviation=IMAGE_DEVIATION,
        version_deviation=0.4,
    ),
    World(
        "versions-lift",
        "one version helps most images, and each version some",
        200,
        "lift",
        rate=0.1,
        trials=20,
        version_deviation=0.1,
    ),
    World(
        "versions-known",
        "each version helps some images, and the request's has many outcomes",
        200,
        rate=0.1,
        trials=50,
        image_deviation=IMAGE_DEVIATION,
        version_deviation=0.4,
        known=True,
    ),
    World(
        "look",
        "features show which images a version helps, and which it harms",
        1000,
        "look",
        rate=0.3,
        trials=5,
    ),
    World("normal", "every version and campaign has an effect", 200, "normal", rate=0.3),
    World("alternates-same", "alternates: all alike", CATALOGUE, options=ALTERNATES),
    World(
        "alternates-images",
        "alternates: images differ, features do not show it",
        CATALOGUE,
        image_deviation=IMAGE_DEVIATION,
        options=ALTERNATES,
    ),
    World(
        "alternates-features",
        "alternates: features show which are better",
        CATALOGUE,
        "features",
        rate=0.35,
        options=ALTERNATES,
    ),
    World(
        "alternates-known",
        "alternates: images differ, and have many outcomes, as has the request's",
        CATALOGUE,
        trials=50,
        image_deviation=IMAGE_DEVIATION,
        options=ALTERNATES,
        known=True,
    ),
    World(
        "alternates-mixed",
        "alternates: features show it, half were sent unchanged only",
        CATALOGUE,
        "features",
        rate=0.35,
        trials=2,
        image_deviation=0.3,
        unchanged_only=0.5,
        options=ALTERNATES,
        known=True,
    ),
)
