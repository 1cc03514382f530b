"""Read SageMaker Ground Truth's output manifests: JSON lines with labels of images.

    {"source-ref": "s3://bucket/shop/a.jpg", "kind": 1, "kind-metadata": {"class-name": "product",
     "confidence": 0.93, "human-annotated": "yes", "type": "groundtruth/image-classification"}}

Every label attribute becomes a column of class names, and two more columns: its confidence and
whether a person gave it. Of a multi-label attribute, the names are joined by ``|``; a lone ``|``
means that none applies, a blank cell that the image is not labelled. Paths are relative to the
folder that all images share.
"""

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.contracts.manifest import PATH
from augrank.errors import DataError, reason

SOURCE, METADATA = "source-ref", "-metadata"
CONFIDENCE, HUMAN = "_confidence", "_human_annotated"
SEPARATOR = "|"
MULTI_LABEL = "groundtruth/image-classification-multilabel"
_PEEK = 65_536  # bytes
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class GroundTruthRows:
    """The labels of a manifest, by column."""

    columns: dict[str, list[str]]
    lines: list[int]  # of each row, from 1
    bad: dict[int, str]  # why rows could not be read, by number of the row
    notes: tuple[str, ...]


def is_ground_truth(source: Path) -> bool:
    """Return whether the first line of a file is that of such a manifest."""
    with source.open("rb") as stream:
        start = stream.read(_PEEK).removeprefix(_UTF8_MARK)
    line = start.lstrip().partition(b"\n")[0]
    return line.startswith(b"{") and f'"{SOURCE}"'.encode() in line


def read_ground_truth(source: Path) -> GroundTruthRows:
    """Read a manifest.

    Raises:
        DataError: it is not UTF-8, or no line has a label.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{source} cannot be read", expected="JSON lines in UTF-8", got=reason(error)
        ) from error
    numbered = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    bad: dict[int, str] = {}
    records = [_record(line, row, bad) for row, (_, line) in enumerate(numbered)]
    labels = _labels(records)
    if not labels:
        raise DataError(
            f"{source} has no labels",
            expected=f"an attribute with its {METADATA}, as a labelling job writes them",
            got=", ".join(sorted({name for record in records for name in record})[:8]),
        )
    sources = [str(record.get(SOURCE, "")) for record in records]
    for row, image in enumerate(sources):
        if not image:
            bad.setdefault(row, f"no {SOURCE}")
    folder = _shared_folder([image for image in sources if image])
    columns = {PATH: [image.removeprefix(folder) for image in sources]}
    for label in labels:
        cells = [_cell(record, label, row, bad) for row, record in enumerate(records)]
        columns[label] = [cell.names for cell in cells]
        columns[label + CONFIDENCE] = [cell.confidence for cell in cells]
        columns[label + HUMAN] = [cell.human for cell in cells]
    notes = (f"its paths are relative to {folder}",) if folder else ()
    return GroundTruthRows(columns, [number for number, _ in numbered], bad, notes)


@dataclass(frozen=True)
class _Cell:
    """One image's label, as text."""

    names: str = ""
    confidence: str = ""
    human: str = ""


def _record(line: str, row: int, bad: dict[int, str]) -> dict[str, Any]:
    """Parse a line; a bad one is noted, and empty."""
    try:
        record = json.loads(line)
        if "\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        bad[row] = "half of a character (a surrogate without the other)"
        return {}
    except (ValueError, RecursionError) as error:
        bad[row] = f"not JSON: {error}"
        return {}
    if not isinstance(record, dict):
        bad[row] = f"expected a JSON object, got {type(record).__name__}"
        return {}
    return record


def _labels(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the label attributes, in order of appearance."""
    names = dict.fromkeys(name for record in records for name in record if name.endswith(METADATA))
    return [name.removesuffix(METADATA) for name in names if name != METADATA]


def _cell(record: Mapping[str, Any], label: str, row: int, bad: dict[int, str]) -> _Cell:
    """Read an attribute; one that failed, or that the line does not have, is blank."""
    metadata = record.get(label + METADATA)
    if metadata is None or label not in record:
        return _Cell()
    try:
        if "failure-reason" in metadata:
            return _Cell()
        human = str(metadata.get("human-annotated", ""))
        if metadata.get("type") == MULTI_LABEL:
            return _multi(record[label], metadata, human)
        return _Cell(str(metadata["class-name"]), str(metadata.get("confidence", "")), human)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        bad.setdefault(row, f"{label} cannot be read: {reason(error)}")
        return _Cell()


def _multi(value: Any, metadata: Mapping[str, Any], human: str) -> _Cell:
    """Read a list of class numbers; its confidence is that of the least sure class."""
    numbers = [str(each) for each in (json.loads(value) if isinstance(value, str) else value)]
    names = sorted(str(metadata["class-map"][number]) for number in numbers)
    known = metadata.get("confidence-map", {})
    sure = [float(known[number]) for number in numbers if number in known]
    return _Cell(SEPARATOR.join(names) or SEPARATOR, str(min(sure)) if sure else "", human)


def _shared_folder(sources: Sequence[str]) -> str:
    """Return the longest folder that all images are in, with its slash; empty if there is none."""
    folders = [posixpath.dirname(image) + "/" for image in sources if "/" in image]
    if len(folders) < len(sources) or not folders:
        return ""
    shared = posixpath.commonprefix(folders)
    return shared[: shared.rfind("/") + 1]
