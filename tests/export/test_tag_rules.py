"""Tags: defaults, what the caller has configured, and mistakes in tags.yaml."""

import pytest

from augrank.errors import BadRequest, DataError
from augrank.models.label_head import LabelHeadSpec
from augrank.models.tags import TagRule, check_configured, tags_of
from export.tag_rules import read_tag_rules

TYPES, COLOURS = ("dealer", "placeholder", "stock"), ("black", "red", "white")
HEADS = tuple(
    LabelHeadSpec(label=label, classes=classes, kind="linear", file="a.npz")
    for label, classes in (("type", TYPES), ("colour", COLOURS))
)
GOOD = """
type: {default: Placeholder, least: 0.5}
colour:
  default: null
  least: 0.4
  only_for: {type: [dealer, stock]}
"""


def read(tmp_path, text: str) -> dict[str, TagRule]:
    (tmp_path / "tags.yaml").write_text(text, encoding="utf-8")
    return read_tag_rules(tmp_path / "tags.yaml", HEADS)


@pytest.mark.parametrize(
    ("told", "configured", "expected"),
    [
        ({"type": ("dealer", 0.9), "colour": ("red", 0.8)}, {},
         {"type": ("dealer", "classified"), "colour": ("red", "classified")}),
        ({"type": ("dealer", 0.4), "colour": ("red", 0.3)}, {},
         {"type": ("Placeholder", "default"), "colour": (None, "default")}),
        ({"type": ("placeholder", 0.9), "colour": ("red", 0.8)}, {},
         {"type": ("placeholder", "classified"), "colour": (None, "default")}),
        ({"type": ("placeholder", 0.9), "colour": ("red", 0.8)}, {"colour": "white"},
         {"type": ("placeholder", "classified"), "colour": ("white", "configured")}),
        # Of a model that did not have one of the labels.
        ({"colour": ("red", 0.8)}, {},
         {"type": ("Placeholder", "default"), "colour": (None, "default")}),
        ({"type": ("dealer", 0.9)}, {},
         {"type": ("dealer", "classified"), "colour": (None, "default")}),
    ],
)  # fmt: skip
def test_what_is_configured_wins_then_what_is_recognised(tmp_path, told, configured, expected):
    tags = tags_of(read(tmp_path, GOOD), told, configured)
    assert {label: (tag.value, tag.source) for label, tag in tags.items()} == expected
    for label, tag in tags.items():
        probability = told[label][1] if tag.source == "classified" else None
        assert tag.probability == probability


def test_configured_values_are_spelled_as_the_classes(tmp_path):
    rules, classes = read(tmp_path, GOOD), {"type": TYPES, "colour": COLOURS}
    assert check_configured(rules, classes, {"colour": "RED"}) == {"colour": "red"}
    with pytest.raises(BadRequest, match="expected one of black, red, white"):
        check_configured(rules, classes, {"colour": "mauve"})
    with pytest.raises(BadRequest, match=r"'make', which is no tag.*expected one of type, colour"):
        check_configured(rules, classes, {"make": "x"})
    with pytest.raises(BadRequest, match="a bundle with --tags"):
        check_configured({}, classes, {"colour": "red"})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("colour:", "color:", "a label that the run does not have.*did you mean colour"),
        ("[dealer, stock]", "[dealers]", "only_for of colour names a class that type does not"),
        ("{type: [dealer", "{kind: [dealer", "a label that the run does not have"),
        ("least: 0.4", "least: 4", "does not fit at colour.least"),
        ("default: null", "defaults: null", "does not fit at colour.defaults: expected no such"),
        (GOOD, "[", "cannot be read: expected YAML"),
        (GOOD, "words", "does not fit at its top"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, GOOD.replace(old, new))
