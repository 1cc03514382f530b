"""Tags: a label's class, a default where nothing was recognised, or what the caller has configured.

    # tags.yaml
    type:
      default: Placeholder                # where nothing was recognised
      least: 0.5                          # probability, below which nothing was recognised
    colour:
      default: null
      least: 0.4
      only_for: {type: [dealer, stock]}   # elsewhere the default

What a caller has configured, such as the colour that an advertiser names, wins over what was
classified, and is marked so.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from augrank.errors import BadRequest, one_of

UNKNOWN = ("", 0.0)  # class and probability of a label that was not told
TagSource = Literal["classified", "default", "configured"]


class TagRule(BaseModel, frozen=True, extra="forbid"):
    """How one label becomes a tag."""

    default: str | None = None
    least: float = Field(0.0, ge=0, le=1)
    only_for: Mapping[str, tuple[str, ...]] = {}  # classes of other labels


class Tag(BaseModel, frozen=True):
    """A tag of an image, and where it comes from."""

    value: str | None
    source: TagSource
    probability: float | None  # of the class; None unless it was classified


TagRules = Mapping[str, TagRule]  # by label


def tags_of(
    rules: TagRules, told: Mapping[str, tuple[str, float]], configured: Mapping[str, str]
) -> dict[str, Tag]:
    """Return the tags of an image.

    Args:
        rules: of the bundle.
        told: the most probable class of each label, and its probability. Nothing is recognised of
            a label that is not there, as in the answer of a model before that did not have it.
        configured: values that win, by label.
    """
    tags = {}
    for label, rule in rules.items():
        name, probability = told.get(label, UNKNOWN)
        applies = label in told and all(
            told.get(other, UNKNOWN)[0] in names for other, names in rule.only_for.items()
        )
        if label in configured:
            tags[label] = Tag(value=configured[label], source="configured", probability=None)
        elif applies and probability >= rule.least:
            tags[label] = Tag(value=name, source="classified", probability=probability)
        else:
            tags[label] = Tag(value=rule.default, source="default", probability=None)
    return tags


def check_configured(
    rules: TagRules, classes: Mapping[str, tuple[str, ...]], configured: Mapping[str, str]
) -> dict[str, str]:
    """Return configured values in the spelling of the classes.

    Args:
        rules: of the bundle.
        classes: of each label.
        configured: values by label, in any case.

    Raises:
        BadRequest: a label has no tag, or no such class.
    """
    found = {}
    for label, value in configured.items():
        if label not in rules:
            raise BadRequest(
                f"configured names {label!r}, which is no tag of this bundle",
                expected=one_of(list(rules), label) if rules else "a bundle with --tags",
                got=repr(label)[:80],
            )
        spelled = {name.casefold(): name for name in classes[label]}
        if value.casefold() not in spelled:
            raise BadRequest(
                f"the configured {label} is not known",
                expected=one_of(classes[label], value),
                got=repr(value)[:80],
            )
        found[label] = spelled[value.casefold()]
    return found
