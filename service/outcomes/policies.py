"""Policies: which candidate is shown, with which exact probability.

A policy gives every candidate a weight, a whole number. The draw takes a whole number below the sum
of the weights from the seed, so a candidate's propensity is its weight divided by that sum: exactly
the probability of the draw, with no rounding between what is used and what is logged. Weights do
not depend on the seed, and the seed's number comes from sha256, so that anybody can draw again:

    number = first 8 bytes, big-endian, of sha256("augrank assignment SEED TRY"), TRY = 0, 1, ...;
             the first one below the largest multiple of the sum (2**64 at most), modulo the sum
    choice = the first candidate whose cumulated weight exceeds the number

``best`` shows the verdict's choice; ``uniform`` all alike; ``thompson`` each as often as it is the
best under the answer's own uncertainty (``posterior.py``), but none below a floor: a candidate that
is never shown cannot be evaluated by inverse propensity weighting.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from augrank.arrays import Float64Array
from augrank.images.augmentations import ORIGINAL
from augrank.models.targets import Direction
from service.outcomes.posterior import Belief, best_probability, normals

PolicyName = Literal["best", "uniform", "thompson"]
VERSION = 1  # of what the policies compute; a logged assignment is replayed by its own
DEFAULT_FLOOR, MAX_FLOOR = 0.02, 0.5
# Propensities of ``thompson`` are multiples of 1 / TOTAL: float64 holds them exactly, and the last
# digits of what they are rounded from, which differ between processors, hardly ever matter.
TOTAL = 2**32
SEEDS = 2**53  # whole numbers that JSON holds everywhere


@dataclass(frozen=True)
class Policy:
    """How a candidate is chosen.

    Attributes:
        name: of the policy.
        floor: least propensity of ``thompson``; all floors together take half of it at most.
    """

    name: PolicyName
    floor: float = DEFAULT_FLOOR


@dataclass(frozen=True)
class Choices:
    """What a policy chooses from.

    Attributes:
        candidates: of an answer, the original among them.
        direction: whether a high or a low probability is good.
        recommended: the name of the verdict's choice.
    """

    candidates: tuple[Belief, ...]
    direction: Direction
    recommended: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the candidates."""
        return tuple(each.name for each in self.candidates)


@dataclass(frozen=True)
class Draw:
    """A candidate that was drawn.

    Attributes:
        choice: its number.
        weights: of all candidates.
    """

    choice: int
    weights: tuple[int, ...]

    @property
    def propensities(self) -> tuple[float, ...]:
        """The probability with which each candidate is drawn."""
        total = sum(self.weights)
        return tuple(weight / total for weight in self.weights)


def draw(policy: Policy, choices: Choices, seed: int) -> Draw:
    """Draw a candidate; the same seed draws the same one.

    Args:
        policy: to follow.
        choices: at least one.
        seed: 0 to SEEDS - 1.
    """
    weights = weights_of(policy, choices)
    number = _number(seed, sum(weights))
    ends = itertools.accumulate(weights)
    return Draw(next(place for place, end in enumerate(ends) if number < end), weights)


def weights_of(policy: Policy, choices: Choices) -> tuple[int, ...]:
    """Return the weight of each candidate."""
    count = len(choices.candidates)
    match policy.name:
        case "best":
            return tuple(int(name == choices.recommended) for name in choices.names)
        case "uniform":
            return (1,) * count
        case "thompson":
            believed = normals(choices.candidates, choices.names.index(ORIGINAL), choices.direction)
            least = int(np.ceil(min(policy.floor, 0.5 / count) * TOTAL))
            shares = _apportion(best_probability(believed), TOTAL - count * least)
            return tuple(least + share for share in shares)


def _apportion(shares: Float64Array, total: int) -> Sequence[int]:
    """Return whole numbers of this sum, in proportion; the largest remainders are rounded up."""
    exact = shares * total
    whole = np.floor(exact).astype(np.int64)
    left = total - int(whole.sum())
    # Of equal remainders the first: their last digits differ from processor to processor.
    order = np.argsort(-np.round(exact - whole, 3), kind="stable")
    whole[order[:left]] += 1
    return [int(each) for each in whole]


def _number(seed: int, total: int) -> int:
    """Return the seed's number below a total; all are equally likely."""
    limit, attempt = 2**64 // total * total, 0
    while (number := _hashed(seed, attempt)) >= limit:
        attempt += 1
    return number % total


def _hashed(seed: int, attempt: int) -> int:
    digest = hashlib.sha256(f"augrank assignment {seed} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
