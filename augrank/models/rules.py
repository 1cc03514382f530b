"""Rules: what a review of some kind earns credit for, decided from an image's labels.

    # rules.yaml
    label: kind
    precision: 0.99       # of every decision that no person makes, at least
    confidence: 0.95      # that it is so
    credit:
      Style Review: [full-length]
      Product Review: [product]

An image is accepted if the classes that earn credit are together probable enough, rejected if the
others are, and a person is asked in between. The two thresholds are the lowest at which, with the
stated confidence, no more decisions are wrong than allowed, by the calibration images (learn then
test; Angelopoulos et al., 2021: thresholds are tested from strict to lenient, each by the exact
binomial bound of Clopper and Pearson, until one fails). Images of one group, such as an uploader's,
are right or wrong together, so one of each counts. All of this is of images like those: of another
mix of photos, or of a kind that is mostly wrong, the share of wrong decisions is another.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float64Array
from augrank.errors import BadRequest, one_of

Decision = Literal["accept", "reject", "ask"]
Names = tuple[str, ...]


class Rules(BaseModel, frozen=True, extra="forbid"):
    """The contents of rules.yaml."""

    label: str
    precision: float = Field(0.99, gt=0.5, lt=1)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    credit: Mapping[str, Names] = Field(min_length=1)  # review kind to classes that earn credit


class FittedRule(BaseModel, frozen=True, extra="forbid"):
    """One review kind, with its thresholds.

    Attributes:
        credit: the classes that earn credit.
        accept: least probability of these classes to accept; above 1: never.
        reject: least probability of the others to reject; above 1: never.
        decided: share of the calibration images that no person decides.
        images: number of the calibration images.
        groups: number of their groups, of which one image each was counted.
        right: share of right decisions among the calibration images that no person decides.
    """

    credit: Names = Field(min_length=1)
    accept: float
    reject: float
    decided: float
    images: int
    groups: int
    right: float | None


class FittedRules(BaseModel, frozen=True, extra="forbid"):
    """Rules with the thresholds of one graph's heads."""

    label: str
    precision: float
    confidence: float
    rules: Mapping[str, FittedRule]

    def find(self, kind: str) -> str:
        """Return a review kind in the spelling of the rules.

        Raises:
            BadRequest: there is no such kind; lists those that there are.
        """
        names = {folded(name): name for name in self.rules}
        if (found := names.get(folded(kind))) is None:
            raise BadRequest(
                "the review kind is not known to this bundle's rules",
                expected=one_of(list(self.rules), kind),
                got=repr(kind)[:80],
            )
        return found

    def decide(
        self, kind: str, classes: Sequence[str], probability: Float64Array
    ) -> tuple[Decision, float]:
        """Decide about an image.

        Args:
            kind: of the rules.
            classes: of the label, K.
            probability: of these classes, (K,).

        Returns:
            The decision, and the probability that the image earns credit.
        """
        rule = self.rules[kind]
        earns = float(probability[earning(classes, rule.credit)].sum())
        if earns >= rule.accept:
            return "accept", earns
        if 1 - earns >= rule.reject:
            return "reject", earns
        return "ask", earns


def earning(classes: Sequence[str], credit: Sequence[str]) -> NDArray[np.bool_]:
    """Return which classes earn credit, (K,)."""
    return np.array([name in credit for name in classes])


def folded(name: str) -> str:
    """Return a review kind without case and separators."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
