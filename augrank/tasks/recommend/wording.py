"""Verdicts in words."""

from dataclasses import dataclass

from augrank.models.targets import Target
from augrank.tasks.recommend.response import Interval, Score, Verdict
from augrank.trust.verdict import LEVEL, Decision


@dataclass(frozen=True)
class Words:
    """How a verdict names its options."""

    keep: str
    change: str
    option: str


CANDIDATES = Words("Keep the picture as it is", "Change the picture to", "version of it")
ALTERNATES = Words(
    "Keep this picture", "Replace the picture with", "other picture of the catalogue"
)


def decimals(interval: Interval) -> int:
    """Return the decimals of a percentage that tell the ends of an interval apart."""
    return 1 if interval[1] - interval[0] > 0.01 else 3


def verdict(
    decision: Decision, target: Target, choice: str | None, score: Score | None, words: Words
) -> Verdict:
    """Put a decision into words.

    Args:
        decision: of all options.
        target: name and direction.
        choice: the chosen option's name, if the decision is ``change``.
        score: the chosen option's, likewise.
        words: names of the options.
    """
    way = "raise" if target.direction == "maximize" else "lower"
    if score is not None:
        before, digits = score.probability - score.difference, decimals(score.difference_interval)
        low, high = (100 * end for end in score.difference_interval)
        text = (
            f"{words.change} {choice}: it would {way} {target.name} from {before:.{digits}%} to "
            f"{score.probability:.{digits}%}, a difference of {low:+.{digits}f} to "
            f"{high:+.{digits}f} points ({100 * LEVEL:.0f} % interval)."
        )
    elif decision.kind == "keep":
        text = f"{words.keep}: probably no {words.option} would {way} {target.name}"
        text += f" by more than {decision.lift:.0%}." if decision.lift is not None else "."
    else:
        text = (
            f"{words.keep} for now: the data cannot tell whether any {words.option} would {way} "
            f"{target.name}."
        )
        if decision.sends is not None and decision.lift is not None:
            lift = f"{decision.lift:.{0 if decision.lift >= 0.095 else 1}%}"
            text += (
                f" Detecting a change of {lift} needs about {decision.sends:,} sends of each of "
                f"two pictures, {2 * decision.sends:,} in all."
            )
    return Verdict(
        kind=decision.kind, choice=choice, sends=decision.sends, lift=decision.lift, text=text
    )
