"""What an advertiser gets: the model's answer, with what is configured and what people corrected.

A fix wins over a configured value, which wins over the model.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from augrank.models.tags import TagRules, tags_of
from augrank.tasks.classify.response import (
    ClassScore,
    CreditDecision,
    ImageAnswer,
    RankAnswer,
)
from service.fixes.history import HeldFix

Source = Literal["fixed", "configured", "classified", "default"]


class FixNote(BaseModel, frozen=True):
    """The fix that holds for a label."""

    id: int
    who: str
    why: str
    at: datetime


class EffectiveLabel(BaseModel, frozen=True):
    """A label of an image, and where it comes from."""

    value: str | None
    source: Source
    model_value: str  # the most probable class
    probability: float  # of it, by the model
    top: tuple[ClassScore, ...]
    set: tuple[str, ...]
    fix: FixNote | None = None


class EffectiveAnswer(BaseModel, frozen=True):
    """One image: its labels, or why it was skipped."""

    sha256: str | None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    labels: dict[str, EffectiveLabel] = {}
    ranks: dict[str, RankAnswer] = {}
    decision: CreditDecision | None = None  # with a review kind; a fix of its label decides
    cached: bool = False  # this advertiser had sent the picture before
    model_digest: str | None = None  # of the model that answered
    error: dict[str, object] | None = None


def effective(
    answer: ImageAnswer,
    fixes: Mapping[str, HeldFix],
    configured: Mapping[str, str],
    rules: TagRules,
    *,
    model: str,
    cached: bool,
) -> EffectiveAnswer:
    """Return what an advertiser gets for an image.

    Args:
        answer: of the model.
        fixes: of this advertiser for the picture, by label.
        configured: values of this advertiser or scrape, by label.
        rules: of tags, which have the defaults.
        model: digest of the model that answered.
        cached: whether the answer was kept from before.
    """
    told = {name: (label.value, label.probability) for name, label in answer.labels.items()}
    corrected = {name: (fix.after, 1.0) for name, fix in fixes.items() if name in told}
    tags = tags_of(rules, told | corrected, configured)
    labels = {}
    for name, label in answer.labels.items():
        value: str | None = label.value
        source: Source = "classified"
        if name in corrected:
            value, source = corrected[name][0], "fixed"
        elif name in configured:
            value, source = configured[name], "configured"
        elif name in tags:
            value, source = tags[name].value, tags[name].source
        fix = fixes.get(name)
        labels[name] = EffectiveLabel(
            value=value,
            source=source,
            model_value=label.value,
            probability=label.probability,
            top=label.top,
            set=label.set,
            fix=FixNote(id=fix.id, who=fix.who, why=fix.why, at=fix.at) if fix else None,
        )
    return EffectiveAnswer(
        sha256=answer.sha256,
        width=answer.width,
        height=answer.height,
        format=answer.format,
        labels=labels,
        ranks=answer.ranks,
        decision=_decision(answer, corrected),
        cached=cached,
        model_digest=model,
    )


def _decision(
    answer: ImageAnswer, corrected: Mapping[str, tuple[str, float]]
) -> CreditDecision | None:
    """Return the decision on credit: the model's, unless its label was corrected."""
    told = answer.decision
    if told is None:
        return None
    label = told.label or (next(iter(answer.labels)) if len(answer.labels) == 1 else "")
    if label not in corrected:
        return told
    value, probability = corrected[label]
    earns = value in told.credit
    return told.model_copy(
        update={
            "decision": "accept" if earns else "reject",
            "probability": probability if earns else 1 - probability,
            "text": f"It earns {'' if earns else 'no '}credit for a {told.review_kind}: "
            f"a person has corrected {label} to {value}.",
        }
    )
