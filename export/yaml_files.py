"""YAML files that a user gives to an export, and what they may name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from augrank.contracts.validation import first_fault
from augrank.errors import DataError, one_of, reason
from augrank.models.label_head import LabelHeadSpec

Content = TypeVar("Content")


def read_yaml(file: Path, content: TypeAdapter[Content], example: str) -> Content:
    """Read and validate a YAML file.

    Args:
        file: to read.
        content: what it must hold.
        example: its members, for messages.

    Raises:
        DataError: it cannot be read, or does not fit.
    """
    try:
        return content.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"{file} cannot be read", expected=f"YAML with {example}", got=reason(error)
        ) from error
    except ValidationError as error:
        fault = first_fault(error)
        raise DataError(
            f"{file} does not fit at {fault.name or 'its top'}",
            expected=fault.expected if fault.name else f"YAML with {example}",
            got=repr(fault.value)[:80],
        ) from error


def classes_of(heads: Sequence[LabelHeadSpec]) -> dict[str, tuple[str, ...]]:
    """Return the classes of each label of a run."""
    return {head.label: head.classes for head in heads}


def check_label(file: Path, name: str, classes: Mapping[str, Sequence[str]]) -> None:
    """Check that a label that a file names is one of a run.

    Raises:
        DataError: it is not.
    """
    if not classes:
        raise DataError(
            f"{file} is about labels, and the run has none",
            expected="a run that was trained with --labels",
            got=f"the label {name!r}",
        )
    if name not in classes:
        raise DataError(
            f"{file} names a label that the run does not have",
            expected=one_of([*classes], name),
            got=repr(name),
        )
