"""The labels of a manifest: columns of classes, of which a blank cell means "not labelled".

A column of several classes at once, such as ``dress|shoes`` (a multi-label attribute of Ground
Truth), is a question for each class: ``wears: dress`` and ``wears: shoes``, with the classes no and
yes. A lone ``|`` means that none of them applies.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import PATH, PRODUCT_TYPE, SHA256, SPLIT
from augrank.errors import DataError, one_of
from augrank.manifest.ground_truth_format import HUMAN, NO, OF_CLASS, SEPARATOR, YES
from augrank.manifest.problems import Problems
from augrank.manifest.text_column import TextColumn
from training.data.samples import NOT_LABELLED

DEFAULT_LABEL = "label"
RESERVED = (PATH, SPLIT, SHA256)


@dataclass(frozen=True)
class Label:
    """A question that every image has one answer to."""

    name: str
    classes: tuple[str, ...]  # sorted
    value: NDArray[np.int64]  # (N,) number of each image's class; NOT_LABELLED if blank

    def without(self, files: Sequence[int]) -> "Label":
        """Return the label as if these files were not labelled."""
        value = self.value.copy()
        value[list(files)] = NOT_LABELLED
        return replace(self, value=value)

    @property
    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        found = np.bincount(self.value[self.value >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, found.tolist(), strict=True))


def find_labels(frame: pd.DataFrame, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the label columns: those that are named, or that the manifest's kind tells.

    By default these are the attributes of a Ground Truth manifest, a column ``label``, or the
    folders of an image folder.

    Raises:
        DataError: a column is missing, or nothing tells which they are.
    """
    columns = [str(name) for name in frame.columns]
    if wanted is not None:
        if not wanted or len(set(wanted)) < len(wanted):
            raise DataError(
                "--labels does not fit",
                expected="the names of label columns, each once",
                got=", ".join(wanted) or "none",
            )
        for name in wanted:
            if name in RESERVED:
                raise DataError(
                    f"a label cannot be named {name!r}",
                    expected="a name that a run's catalogue does not use itself",
                    remedy=f"Rename the column, or map it: --column kind={name} --labels kind.",
                )
            if name not in columns:
                raise DataError(
                    f"there is no label column {name!r}", expected=one_of(columns, name)
                )
        return tuple(wanted)
    attributes = [name.removesuffix(HUMAN) for name in columns if name.endswith(HUMAN)]
    if found := [name for name in attributes if name in columns]:
        return tuple(found)
    for name in (DEFAULT_LABEL, PRODUCT_TYPE):
        if name in columns:
            return (name,)
    raise DataError(
        "there are no labels",
        expected="--labels with the names of columns, or a folder for each class",
        got=", ".join(columns),
    )


def read_labels(
    frame: pd.DataFrame,
    names: Sequence[str],
    file: NDArray[np.int64],
    problems: Problems,
    several: Container[str] = (),
) -> tuple[Label, ...]:
    """Read the labels of distinct files.

    Args:
        frame: (N rows), text.
        names: of the label columns.
        file: (N,) number of each row's file, 0 to F - 1.
        problems: all rows of a file that they label differently are added.
        several: columns of several classes at once, even if no cell has more than one.
    """
    labels: list[Label] = []
    for name in names:
        cells = TextColumn.of(frame[name])
        if name in several or cells.has(lambda text: SEPARATOR in text).any():
            labels += _read_several(cells, name, file, problems)
        else:
            labels.append(_read_label(cells, name, file, problems))
    return tuple(labels)


def _read_several(
    cells: TextColumn, name: str, file: NDArray[np.int64], problems: Problems
) -> list[Label]:
    """Read a column of several classes at once: a label of no and yes for each class."""
    sets = {text: {part.strip() for part in text.split(SEPARATOR)} for text in cells.found}
    labels = []
    for each in sorted(set().union(*sets.values()) - {""}):
        words = {text: YES if each in found else NO for text, found in sets.items() if text}
        label = _read_label(cells.replace(words), f"{name}{OF_CLASS}{each}", file, problems)
        labels.append(replace(label, classes=(NO, YES), value=_as_no_yes(label)))
    return labels


def _as_no_yes(label: Label) -> NDArray[np.int64]:
    """Return the values of a label as numbers of NO and YES, of which it may have one alone."""
    number = np.array([(NO, YES).index(name) for name in label.classes] + [NOT_LABELLED])
    return np.asarray(number[label.value])


def _read_label(cells: TextColumn, name: str, file: NDArray[np.int64], problems: Problems) -> Label:
    """Read a column of classes. All rows of a file with two are bad: none is surely right."""
    given = np.flatnonzero(~cells.blank & ~problems.bad)
    classes, number = cells.select(given).numbered()
    value = np.full(int(file.max(initial=-1)) + 1, NOT_LABELLED)
    value[file[given[::-1]]] = number[::-1]  # the first one is written last
    first = _first_of_each(given, file, len(value))
    differs = number != value[file[given]]
    other = _first_of_each(given[differs], file, len(value))
    for place in np.flatnonzero(other[file[given]] >= 0).tolist():
        row = int(given[place])
        contrary = int((first if differs[place] else other)[file[row]])
        problems.add_row(
            row,
            f"{name} is {cells[row]!r}, but {problems.unit} {problems.lines[contrary]} gives the "
            f"same image {cells[contrary]!r}",
        )
    value[other >= 0] = NOT_LABELLED
    return Label(name, classes, value)


def _first_of_each(
    rows: NDArray[np.int64], file: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return the first of these rows that each file has, (count,); -1 if it has none."""
    first = np.full(count, -1)
    first[file[rows[::-1]]] = rows[::-1]  # the first one is written last
    return first


def check_label(label: Label, least: int = 2) -> None:
    """Check that there is something to tell apart.

    Raises:
        DataError: there are fewer than ``least`` classes.
    """
    if len(label.classes) < least:
        raise DataError(
            f"{label.name} has nothing to tell apart",
            expected=f"at least {least} classes",
            got=", ".join(label.classes) or "no labels",
        )
