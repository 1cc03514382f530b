"""Write labels of images as SageMaker Ground Truth writes them: JSON lines, see ``ground_truth``.

A labelling job takes such a manifest as its input, to verify or adjust what a model told. Labels
that are questions about one attribute, ``wears: dress`` and ``wears: hat``, are one multi-label
attribute ``wears``.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.errors import DataError
from augrank.files import atomic_write
from augrank.manifest.ground_truth_format import (
    METADATA,
    MULTI_LABEL,
    NO,
    OF_CLASS,
    SINGLE_LABEL,
    SOURCE,
    YES,
)

MAX_NAME = 127  # characters of an attribute's name, as CreateLabelingJob limits it


@dataclass(frozen=True)
class Annotation:
    """A label of an image, and where it comes from.

    Attributes:
        name: the class.
        classes: of the attribute; a number stands for each.
        confidence: 0 to 1.
        human: whether a person gave it.
        created: time, ISO 8601.
        job: what gave it, such as a labelling job or a model.
    """

    name: str
    classes: Sequence[str]
    confidence: float
    human: bool
    created: str
    job: str


def ground_truth_line(source: str, labels: Mapping[str, Annotation]) -> str:
    """Return one line of a manifest, without its end.

    Args:
        source: the image, such as ``s3://bucket/a.jpg``.
        labels: by name. Those of a multi-label attribute should be there for all of its classes, in
            the same order in each line: the numbers of classes follow it, and a class that is not
            told does not apply, as the format has it.

    Raises:
        DataError: two labels would have the same attribute.
    """
    record: dict[str, Any] = {SOURCE: source}
    several: dict[str, dict[str, Annotation]] = {}
    for name, label in labels.items():
        if question := question_of(name, label.classes):
            attribute, each = question
            several.setdefault(attribute, {})[each] = label
        else:
            _put(record, name, list(label.classes).index(label.name), _single(label))
    for name, answers in several.items():
        chosen = {n: each for n, each in enumerate(answers) if answers[each].name == YES}
        _put(record, name, list(chosen), _multi(answers, chosen))
    return json.dumps(record, ensure_ascii=False)


def question_of(label: str, classes: Sequence[str]) -> tuple[str, str] | None:
    """Return the multi-label attribute and its class that a label asks about, if it is such one."""
    attribute, question, each = label.partition(OF_CLASS)
    return (attribute, each) if question and set(classes) <= {NO, YES} else None


def _put(
    record: dict[str, Any], label: str, value: int | list[int], metadata: dict[str, Any]
) -> None:
    name = attribute_name(label)
    if name in record:
        raise DataError(
            f"the label {label!r} and another one are both the attribute {name}",
            expected="names that differ in more than signs",
            remedy="Rename one of them in the manifest, and train again.",
        )
    record[name], record[name + METADATA] = value, metadata


def _single(label: Annotation) -> dict[str, Any]:
    return {
        "class-name": label.name,
        "confidence": round(label.confidence, 4),
        **_origin([label]),
        "type": SINGLE_LABEL,
    }


def _multi(answers: Mapping[str, Annotation], chosen: Mapping[int, str]) -> dict[str, Any]:
    """Return the metadata of a multi-label attribute.

    Args:
        answers: by class.
        chosen: the classes that apply, by number.
    """
    return {
        "class-map": {str(number): each for number, each in chosen.items()},
        "confidence-map": {
            str(number): round(answers[each].confidence, 4) for number, each in chosen.items()
        },
        **_origin(list(answers.values())),
        "type": MULTI_LABEL,
    }


def _origin(labels: Sequence[Annotation]) -> dict[str, str]:
    latest = max(labels, key=lambda label: label.created)
    return {
        "human-annotated": "yes" if all(label.human for label in labels) else "no",
        "creation-date": latest.created,
        "job-name": latest.job,
    }


def attribute_name(label: str) -> str:
    """Return the attribute's name of a label: letters, digits and hyphens, as a job takes them."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")
    if not name:
        name = "label-" + hashlib.sha256(label.encode()).hexdigest()[:8]
    name = name.replace(METADATA, "-meta-data")[:MAX_NAME].rstrip("-")
    return f"{name}-label" if name.endswith("-ref") else name  # which mean something else


def write_ground_truth(file: Path, lines: Iterable[tuple[str, Mapping[str, Annotation]]]) -> None:
    """Write a manifest.

    Args:
        file: to write, atomically.
        lines: the source of each image, and its labels by name.
    """
    with atomic_write(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for source, labels in lines:
            stream.write(ground_truth_line(source, labels) + "\n")
