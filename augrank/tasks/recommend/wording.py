"""Verdicts in words."""

from dataclasses import dataclass

from augrank.models.targets import Target
from augrank.tasks.recommend.response import Score, Verdict
from augrank.trust.verdict import Decision


@dataclass(frozen=True)
class Words:
    """How a verdict names its options."""

    keep: str
    change: str
    option: str


CANDIDATES = Words("Keep the picture as it is", "Change the picture to", "version of it")
ALTERNATES = Words("Keep this picture", "Replace the picture by", "other picture of the catalogue")


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
        before = score.probability - score.difference
        low, high = sorted(100 * abs(value) for value in score.difference_interval)
        text = (
            f"{words.change} {choice}: it would {way} {target.name} from {before:.1%} to "
            f"{score.probability:.1%}, by {low:.1f} to {high:.1f} points."
        )
    elif decision.kind == "keep":
        text = f"{words.keep}: no {words.option} would {way} {target.name}"
        text += f" by more than {decision.lift:.0%}." if decision.lift is not None else "."
    else:
        text = (
            f"{words.keep} for now: the data cannot tell whether any {words.option} would {way} "
            f"{target.name}."
        )
        if decision.sends is not None and decision.lift is not None:
            text += (
                f" A test that can tell a change of {decision.lift:.0%} takes "
                f"{decision.sends:,} sends of each picture."
            )
    return Verdict(
        kind=decision.kind, choice=choice, sends=decision.sends, lift=decision.lift, text=text
    )
