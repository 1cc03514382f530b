"""Read tags.yaml, and check it against a run's labels."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from augrank.errors import DataError, one_of
from augrank.models.label_head import LabelHeadSpec
from augrank.models.tags import TagRule
from export.yaml_files import check_label, classes_of, read_yaml

EXAMPLE = "for each label its default, least and only_for"
RULES = TypeAdapter(dict[str, TagRule])


def read_tag_rules(file: Path, heads: Sequence[LabelHeadSpec]) -> dict[str, TagRule]:
    """Read rules of tags and check that they name labels and classes of a run.

    Args:
        file: tags.yaml.
        heads: of the run.

    Raises:
        DataError: the file cannot be read, or names what the run does not have.
    """
    rules, classes = read_yaml(file, RULES, EXAMPLE), classes_of(heads)
    for label, rule in rules.items():
        for name in (label, *rule.only_for):
            check_label(file, name, classes)
        for other, names in rule.only_for.items():
            for name in names:
                if name not in classes[other]:
                    raise DataError(
                        f"{file}: only_for of {label} names a class that {other} does not have",
                        expected=one_of(classes[other], name),
                        got=repr(name),
                    )
    return rules
