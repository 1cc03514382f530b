"""The manifest of the task ``classify``: images and their labels, a row each.

A label is a column of classes; a row with a blank cell is left out of that label only. Rows whose
``uploader``, ``advertiser`` or ``original`` is the same belong to one group, which is never divided
between splits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import ORIGINAL_FILE, PATH
from augrank.errors import DataError, one_of
from augrank.manifest.paths import check_paths
from augrank.manifest.problems import Problems, Table
from training.data.labels import Label, find_labels, read_labels
from training.data.manifest.rows import ManifestRows
from training.data.quantiles import quantile_classes

GROUPS = ("uploader", "advertiser", ORIGINAL_FILE)


@dataclass(frozen=True, kw_only=True)
class LabelManifest(ManifestRows):
    """A validated manifest of labelled images."""

    labels: tuple[Label, ...]  # by file
    groups: tuple[str, ...]  # the columns that say which images belong together

    def without(self, bad: Mapping[int, str], *, skip: bool) -> "LabelManifest":
        """Return the manifest without the rows of these files; the files keep their numbers.

        Args:
            bad: the reason, by number of the file.
            skip: leave them out instead of failing.

        Raises:
            DataError: there are such rows and ``skip`` is off.
        """
        if not bad:
            return self
        kept, left_out = self.settled(bad, skip=skip)
        return replace(
            self,
            frame=self.frame[kept].reset_index(drop=True),
            lines=self.lines[kept],
            file=self.file[kept],
            labels=tuple(label.without(sorted(bad)) for label in self.labels),
            left_out=left_out,
        )

    @property
    def shown(self) -> NDArray[np.int64]:
        """The files that a valid row names, in order."""
        return np.unique(self.file)


def check_label_manifest(
    table: Table,
    images: Path,
    *,
    labels: Sequence[str] | None,
    groups: Sequence[str] | None,
    quantiles: Mapping[str, int] = {},
    skip_bad_rows: bool,
) -> LabelManifest:
    """Validate every row.

    Args:
        table: the result of ``read_table``.
        images: the folder that paths are relative to.
        labels: the label columns; by default those that the table tells (``find_labels``).
        groups: columns of groups; by default those of GROUPS that the table has.
        quantiles: the number of classes that columns of scores are divided into; by default these
            are the labels.
        skip_bad_rows: leave bad rows out instead of failing.

    Raises:
        DataError: bad rows, with line numbers; an unknown column.
    """
    frame, problems = table.frame, Problems.of(table)
    wanted = labels or (tuple(quantiles) or None if labels is None else labels)
    names, groups = find_labels(frame, wanted), _group_columns(frame, groups)
    path = check_paths(frame[PATH], images, problems)
    notes = table.notes
    for name, classes in quantiles.items():
        find_labels(frame, (name,))  # raises if there is no such column
        divided = quantile_classes(frame, name, classes, path, problems)
        frame, notes = frame.assign(**{name: divided.cells}), (*notes, divided.note)
    _, number = np.unique(path, return_inverse=True)
    read_labels(frame, names, number.astype(np.int64), problems)  # rows that contradict
    left_out = problems.settle(table.source, skip=skip_bad_rows)
    kept = ~problems.bad
    frame = frame[kept].reset_index(drop=True)
    files, file = np.unique(path[kept], return_inverse=True)
    valid = Problems(table.unit, table.lines[kept])
    return LabelManifest(
        source=table.source,
        images=images.resolve(),
        frame=frame,
        lines=table.lines[kept],
        unit=table.unit,
        files=tuple(map(str, files)),
        file=file.astype(np.int64),
        left_out=left_out,
        notes=notes,
        labels=read_labels(frame, names, file.astype(np.int64), valid),
        groups=groups,
    )


def _group_columns(frame: pd.DataFrame, wanted: Sequence[str] | None) -> tuple[str, ...]:
    columns = [str(name) for name in frame.columns]
    if wanted is None:
        return tuple(name for name in GROUPS if name in columns)
    for name in wanted:
        if name not in columns:
            raise DataError(
                f"there is no column {name!r} of groups", expected=one_of(columns, name)
            )
    return tuple(wanted)
