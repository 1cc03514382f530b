"""Write labels of images as SageMaker Ground Truth writes them: JSON lines, see ``ground_truth``.

A labelling job takes such a manifest as its input, to verify or adjust what a model told.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.files import atomic_write
from augrank.manifest.ground_truth import METADATA, SOURCE


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
        labels: by attribute.
    """
    record: dict[str, Any] = {SOURCE: source}
    for name, label in labels.items():
        record[name] = list(label.classes).index(label.name)
        record[name + METADATA] = {
            "class-name": label.name,
            "confidence": round(label.confidence, 4),
            "human-annotated": "yes" if label.human else "no",
            "creation-date": label.created,
            "job-name": label.job,
            "type": "groundtruth/image-classification",
        }
    return json.dumps(record, ensure_ascii=False)


def write_ground_truth(file: Path, lines: Iterable[tuple[str, Mapping[str, Annotation]]]) -> None:
    """Write a manifest.

    Args:
        file: to write, atomically.
        lines: the source of each image, and its labels by attribute.
    """
    with atomic_write(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for source, labels in lines:
            stream.write(ground_truth_line(source, labels) + "\n")
