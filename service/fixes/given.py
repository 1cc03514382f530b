"""What an advertiser gets for a label without a fix of it: the class, or the value of its tag.

Values that a request configures are not known here: they are for that request alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from augrank.models.tags import TagRules, tags_of


@dataclass(frozen=True)
class Answering:
    """The model that answers now.

    Attributes:
        tags: its rules of tags, by label.
        model: its digest; None: unknown.
    """

    tags: TagRules = field(default_factory=dict)
    model: str | None = None


def without_fix(
    rules: TagRules,
    told: Mapping[str, tuple[str, float]],
    fixes: Mapping[str, str],
    label: str,
    configured: Mapping[str, str],
) -> str | None:
    """Return what an advertiser gets for a label that no person has corrected; None: nothing.

    Args:
        rules: of tags.
        told: the most probable class of each label of an answer, and its probability.
        fixes: that hold for the picture, by label; those of other labels count.
        label: in question.
        configured: values of the advertiser, by label.
    """
    rule = rules.get(label)
    if rule is None:
        return told[label][0]
    corrected = {name: (value, 1.0) for name, value in fixes.items() if name != label}
    return tags_of({label: rule}, {**told, **corrected}, configured)[label].value


def in_words(value: str | None) -> str:
    """Return what an advertiser gets, for people."""
    return "not told" if value is None else value
