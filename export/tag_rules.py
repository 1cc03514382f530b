"""Read tags.yaml, and check it against a run's labels."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from augrank.contracts.validation import first_fault
from augrank.errors import DataError, one_of, reason
from augrank.models.label_head import LabelHeadSpec
from augrank.models.tags import TagRule

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
    try:
        rules = RULES.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"{file} cannot be read", expected=f"YAML with {EXAMPLE}", got=reason(error)
        ) from error
    except ValidationError as error:
        fault = first_fault(error)
        raise DataError(
            f"{file} does not fit at {fault.name or 'its top'}",
            expected=fault.expected if fault.name else f"YAML with {EXAMPLE}",
            got=repr(fault.value)[:80],
        ) from error
    classes = {head.label: head.classes for head in heads}
    for label, rule in rules.items():
        for name in (label, *rule.only_for):
            if name not in classes:
                raise DataError(
                    f"{file} names a label that the run does not have",
                    expected=one_of(list(classes), name),
                    got=repr(name),
                )
        for other, names in rule.only_for.items():
            for name in names:
                if name not in classes[other]:
                    raise DataError(
                        f"{file}: only_for of {label} names a class that {other} does not have",
                        expected=one_of(classes[other], name),
                        got=repr(name),
                    )
    return rules
