"""What an answer tells a user, from the reference's draws and from an archive's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from augrank.arrays import Float64Array
from augrank.images.augmentations import ORIGINAL
from augrank.models.targets import Target
from augrank.trust.verdict import Kind, decide, interval

DECIMALS = 6  # of probabilities in an answer, beyond which candidates tie
NEAR_TIE = 0.005  # a smaller gain or loss is not worth a change of verdict
FULL_RATE = 0.25  # differences at a lower rate count relative to it


@dataclass(frozen=True)
class GateAnswer:
    """What an answer shows and recommends; candidates are numbered as in the bundle."""

    shown: Float64Array  # (A, 5): probability, its interval, the interval of the difference
    first: int  # candidate that is listed first
    kind: Kind  # of the verdict
    choice: int  # recommended candidate: the original, 0, unless the kind is ``change``

    @property
    def probability(self) -> Float64Array:
        """The candidates' probabilities, (A,)."""
        return self.shown[:, 0]

    @classmethod
    def of_json(cls, body: Mapping[str, Any], names: Sequence[str]) -> Self:
        """Read an answer's JSON body.

        Args:
            body: schema 3.
            names: of the candidates, in the bundle's order.
        """
        scores = {score["name"]: score for score in body["candidates"]}
        shown = [
            [score["probability"], *score["interval"], *score["difference_interval"]]
            for score in (scores[name] for name in names)
        ]
        verdict = body["verdict"]
        return cls(
            np.array(shown),
            first=names.index(body["candidates"][0]["name"]),
            kind=verdict["kind"],
            choice=names.index(verdict["choice"] or ORIGINAL),
        )


@dataclass(frozen=True)
class ReferenceAnswer:
    """The answer that the trained model gives, and the verdicts that are as good as its own."""

    target: Target
    answer: GateAnswer
    verdicts: tuple[tuple[Kind, int], ...]  # kind and choice: its own, and those of near-ties

    @classmethod
    def of_draws(cls, draws: Float64Array, target: Target) -> Self:
        """Answer as a server does.

        Args:
            draws: of the candidates' probabilities, (M, A), the original first.
            target: name and direction.
        """
        probability, differences = draws.mean(axis=0), draws - draws[:, :1]
        near_tie = NEAR_TIE * _unit(probability)
        verdicts: list[tuple[Kind, int]] = []
        for shift in (0.0, near_tie, -near_tie):
            decision = decide(draws[:, 1:] + shift, draws[:, 0], target.direction)
            option = decision.option
            verdicts.append((decision.kind, 0 if option is None else 1 + option))
        shown = np.stack([probability, *interval(draws), *interval(differences)], axis=1)
        # Ties are in the bundle's order, and argmax returns the first.
        first = int(np.argmax(np.round(_sign(target) * probability, DECIMALS)))
        return cls(target, GateAnswer(shown, first, *verdicts[0]), tuple(verdicts))

    @property
    def unit(self) -> float:
        """The difference that counts as 1: less if all of the probabilities are low."""
        return _unit(self.answer.probability)

    @property
    def value(self) -> Float64Array:
        """The candidates' probabilities with a sign, (A,): more is better."""
        return _sign(self.target) * self.answer.probability

    @property
    def firm(self) -> bool:
        """Whether the verdict is far from any other."""
        return len(set(self.verdicts)) == 1

    def loss(self, got: GateAnswer) -> float:
        """Return how much worse a candidate a user of another answer would take.

        One user follows the verdict, another tests the candidate that is listed first: the larger
        loss of the two, in units. A candidate that the reference rates higher is no loss.
        """
        value = self.value
        followed = value[self.answer.choice] - value[got.choice]
        tested = value[self.answer.first] - value[got.first]
        return max(0.0, float(followed), float(tested)) / self.unit

    def difference(self, got: GateAnswer) -> float:
        """Return the largest difference of what is shown of the candidates that matter, in units.

        Those are the original, and what either answer recommends or lists first.
        """
        answers = (self.answer, got)
        matter = [0, *(each.choice for each in answers), *(each.first for each in answers)]
        apart = np.abs(self.answer.shown[matter] - got.shown[matter])
        return float(apart.max()) / self.unit

    def agrees(self, got: GateAnswer) -> bool:
        """Return whether the other answer's verdict is the reference's or as good as it."""
        least = self.value[got.choice] + NEAR_TIE * self.unit
        return any(
            kind == got.kind and (kind != "change" or self.value[choice] <= least)
            for kind, choice in self.verdicts
        )


@dataclass(frozen=True)
class CatalogueAnswer:
    """The probabilities of an image of the catalogue and of its alternates."""

    candidates: Mapping[str, float]  # by name
    alternates: Mapping[str, float]  # by path; of the images that the reference has

    def difference(self, body: Mapping[str, Any]) -> float:
        """Return the mean difference of an answer's probabilities, in units.

        Args:
            body: the answer's JSON, schema 3; it may have other alternates too.
        """
        shown = [
            (self.candidates[each["name"]], each["probability"]) for each in body["candidates"]
        ]
        shown += [
            (self.alternates[each["path"]], each["probability"])
            for each in body["alternates"]
            if each["path"] in self.alternates
        ]
        expected, got = np.array(shown).T
        return float(np.abs(expected - got).mean()) / _unit(expected)


def _sign(target: Target) -> float:
    return 1.0 if target.direction == "maximize" else -1.0


def _unit(probability: Float64Array) -> float:
    return min(1.0, max(float(probability.max()), 1e-6) / FULL_RATE)
