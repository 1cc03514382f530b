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
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import PATH
from augrank.errors import DataError, reason
from augrank.manifest.ground_truth_format import (
    CONFIDENCE,
    HUMAN,
    METADATA,
    MULTI_LABEL,
    SEPARATOR,
    SOURCE,
)
from augrank.manifest.text_column import TextColumn, TextColumnBuilder

_PEEK = 65_536  # bytes
_UTF8_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class GroundTruthRows:
    """The labels of a manifest, by column."""

    columns: dict[str, TextColumn]
    lines: NDArray[np.int64]  # of each row, from 1
    bad: dict[int, str]  # why rows could not be read, by number of the row
    several: frozenset[str]  # the columns of multi-label attributes
    notes: tuple[str, ...]


def is_ground_truth(source: Path) -> bool:
    """Return whether the first line of a file is that of such a manifest."""
    with source.open("rb") as stream:
        start = stream.read(_PEEK).removeprefix(_UTF8_MARK)
    line = start.lstrip().partition(b"\n")[0]
    return line.startswith(b"{") and f'"{SOURCE}"'.encode() in line


def read_ground_truth(source: Path) -> GroundTruthRows:
    """Read a manifest, line by line: only its columns are held.

    Raises:
        DataError: it is not UTF-8, or no line has a label.
    """
    columns = _Columns()
    try:
        with source.open(encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    columns.add(number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{source} cannot be read", expected="JSON lines in UTF-8", got=reason(error)
        ) from error
    return columns.build(source)


@dataclass(frozen=True)
class _Cell:
    """One image's label, as text."""

    names: str = ""
    confidence: str = ""
    human: str = ""
    several: bool = False  # whether the attribute is multi-label


class _Columns:
    """Collects rows by column."""

    def __init__(self) -> None:
        self._lines = array("q")
        self._paths = TextColumnBuilder()
        # Of each label attribute, in order of appearance: names, confidence, human.
        self._labels: dict[str, tuple[TextColumnBuilder, ...]] = {}
        self._several: set[str] = set()
        self._other_names: set[str] = set()  # until a label is found
        self._bad: dict[int, str] = {}

    def add(self, number: int, line: str) -> None:
        """Add a line."""
        row = len(self._lines)
        self._lines.append(number)
        record = _record(line, row, self._bad)
        image = str(record.get(SOURCE, ""))
        if not image:
            self._bad.setdefault(row, f"no {SOURCE}")
        self._put(self._paths, image, row)
        for name in record:
            label = name.removesuffix(METADATA)
            if label and label != name and label not in self._labels:
                self._labels[label] = tuple(TextColumnBuilder() for _ in range(3))
                for builder in self._labels[label]:
                    builder.extend("" for _ in range(row))
        if not self._labels:
            self._other_names.update(record)
        for label, builders in self._labels.items():
            cell = _cell(record, label, row, self._bad)
            if cell.several:
                self._several.add(label)
            for builder, text in zip(
                builders, (cell.names, cell.confidence, cell.human), strict=True
            ):
                self._put(builder, text, row)

    def _put(self, builder: TextColumnBuilder, text: str, row: int) -> None:
        builder.extend((text,))
        if (broken := builder.codes.broken) and text in broken:
            self._bad.setdefault(row, broken[text])

    def build(self, source: Path) -> GroundTruthRows:
        """Return the rows.

        Raises:
            DataError: no line has a label.
        """
        if not self._labels:
            raise DataError(
                f"{source} has no labels",
                expected=f"an attribute with its {METADATA}, as a labelling job writes them",
                got=", ".join(sorted(self._other_names)[:8]),
            )
        paths = self._paths.build()
        folder = _shared_folder(text for text in paths.texts if text)
        columns = {PATH: paths.map(lambda image: image.removeprefix(folder))}
        for label, builders in self._labels.items():
            for ending, builder in zip(("", CONFIDENCE, HUMAN), builders, strict=True):
                columns[label + ending] = builder.build()
        notes = (f"its paths are relative to {folder}",) if folder else ()
        lines = np.array(self._lines, np.int64)
        return GroundTruthRows(columns, lines, self._bad, frozenset(self._several), notes)


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
    least = str(min(sure)) if sure else ""
    return _Cell(SEPARATOR.join(names) or SEPARATOR, least, human, several=True)


def _shared_folder(sources: Iterable[str]) -> str:
    """Return the longest folder that all images are in, with its slash; empty if there is none."""
    folders = {posixpath.dirname(image) + "/" if "/" in image else "" for image in sources}
    shared = posixpath.commonprefix(sorted(folders))
    return shared[: shared.rfind("/") + 1]
