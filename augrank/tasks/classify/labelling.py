"""From features to what an answer says of each image: its labels, and the decision on credit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.models.label_head import LabelHead
from augrank.models.rules import FittedRules
from augrank.tasks.classify.request import Request
from augrank.tasks.classify.response import ClassScore, CreditDecision, LabelAnswer

DIGITS = 6  # of probabilities
WORDS = {
    "accept": "It earns credit for a {kind}: {shown} with probability {probability:.1%}.",
    "reject": "It earns no credit for a {kind}: {shown} has probability {probability:.1%}.",
    "ask": "Ask a person: for a {kind}, {shown} has probability {probability:.1%}.",
}
Told = tuple[dict[str, LabelAnswer], CreditDecision | None]


def tell(
    features: Float32Array,
    heads: Sequence[LabelHead],
    rules: FittedRules | None,
    request: Request,
) -> list[Told]:
    """Tell the labels of images, and decide.

    Args:
        features: (N, F).
        heads: of the bundle's labels.
        rules: of the loaded graph.
        request: whose options they are for.

    Returns:
        The labels of each image, and the decision, if the request has a review kind.
    """
    rows: list[dict[str, LabelAnswer]] = [{} for _ in features]
    decisions: list[CreditDecision | None] = [None] * len(features)
    for head in heads:
        label, classes = head.spec.label, head.spec.classes
        probabilities = head.probabilities(features)
        sets = head.sets(probabilities, request.coverage)
        for row, probability, inside in zip(rows, probabilities, sets, strict=True):
            row[label] = _label_answer(classes, probability, inside, request.top)
        if request.review_kind and rules and label == rules.label:
            decisions = [
                _decision(rules, request.review_kind, classes, probability)
                for probability in probabilities
            ]
    return list(zip(rows, decisions, strict=True))


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
        review_kind=kind,
        credit=credit,
        probability=round(earns, DIGITS),
        text=WORDS[decision].format(kind=kind, shown=shown, probability=earns),
    )
