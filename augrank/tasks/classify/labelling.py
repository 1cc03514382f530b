"""From features to what an answer says of each image: its labels, ranks and credit."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.models.rules import FittedRules
from augrank.tasks.classify.heads import LoadedHeads
from augrank.tasks.classify.request import Request
from augrank.tasks.classify.response import ClassScore, CreditDecision, LabelAnswer, RankAnswer

DIGITS = 6  # of probabilities
WORDS = {
    "accept": "It earns credit for a {kind}: {shown} with probability {probability:.1%}.",
    "reject": "It earns no credit for a {kind}: {shown} has probability {probability:.1%}.",
    "ask": "Ask a person: for a {kind}, {shown} has probability {probability:.1%}.",
}


@dataclass
class Told:
    """What the heads say of one image."""

    labels: dict[str, LabelAnswer] = field(default_factory=dict)
    ranks: dict[str, RankAnswer] = field(default_factory=dict)
    decision: CreditDecision | None = None  # with a review kind


def tell(features: Float32Array, heads: LoadedHeads, request: Request) -> list[Told]:
    """Tell the labels and ranks of images, and decide.

    Args:
        features: (N, F).
        heads: of the loaded graph.
        request: whose options they are for.
    """
    told, rules = [Told() for _ in features], heads.rules
    for head in heads.labels:
        label, classes = head.spec.label, head.spec.classes
        probabilities = head.probabilities(features)
        sets = head.sets(probabilities, request.coverage)
        for each, probability, inside in zip(told, probabilities, sets, strict=True):
            each.labels[label] = _label_answer(classes, probability, inside, request.top)
            if request.review_kind and rules and label == rules.label:
                each.decision = _decision(rules, request.review_kind, classes, probability)
    for rank in heads.ranks:
        scores = rank.scores(features)
        places = zip(
            told, scores, rank.percentiles(scores), rank.probabilities(scores), strict=True
        )
        for each, score, percentile, above in places:
            each.ranks[rank.spec.rank] = RankAnswer(
                score=round(float(score), DIGITS),
                percentile=round(float(percentile), 2),
                probability=round(float(above), DIGITS),
            )
    return told


def _label_answer(
    classes: Sequence[str], probability: Float64Array, inside: NDArray[np.bool_], top: int
) -> LabelAnswer:
    """Return the answer of one label, of one image: its classes, (K,)."""
    order = np.argsort(-probability, kind="stable").tolist()
    scores = tuple(
        ClassScore(name=classes[place], probability=round(float(probability[place]), DIGITS))
        for place in order[:top]
    )
    return LabelAnswer(
        value=scores[0].name,
        probability=scores[0].probability,
        top=scores,
        set=tuple(classes[place] for place in order if inside[place]),
    )


def _decision(
    rules: FittedRules, kind: str, classes: Sequence[str], probability: Float64Array
) -> CreditDecision:
    decision, earns = rules.decide(kind, classes, probability)
    credit = rules.rules[kind].credit
    shown = " or ".join(credit)
    return CreditDecision(
        decision=decision,
        label=rules.label,
        review_kind=kind,
        credit=credit,
        probability=round(earns, DIGITS),
        text=WORDS[decision].format(kind=kind, shown=shown, probability=earns),
    )
