"""The manifest of the task ``classify``: images and their labels, a row each.

A label is a column of classes; a row with a blank cell is left out of that label only. A rank is
a column of scores that images are ranked by. Rows whose
``uploader``, ``advertiser`` or ``original`` is the same belong to one group, which is in one split;
pictures that many groups have are a group of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import ORIGINAL_FILE, PATH
from augrank.errors import DataError, one_of
from augrank.manifest.ground_truth_format import HUMAN
from augrank.manifest.paths import check_paths
from augrank.manifest.problems import Problems, Table
from augrank.manifest.text_column import TextColumn, kept_rows
from training.data.labels import Label, find_labels, read_labels
from training.data.manifest.rows import ManifestRows
from training.data.quantiles import quantile_classes
from training.data.ranks import Rank, read_ranks

GROUPS = ("uploader", "advertiser", ORIGINAL_FILE)


@dataclass(frozen=True, kw_only=True)
class LabelManifest(ManifestRows):
    """A validated manifest of labelled images."""

    labels: tuple[Label, ...]  # by file
    ranks: tuple[Rank, ...]  # by file
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
            frame=kept_rows(self.frame, kept),
            lines=self.lines[kept],
            file=self.file[kept],
            labels=tuple(label.without(sorted(bad)) for label in self.labels),
            ranks=tuple(rank.without(sorted(bad)) for rank in self.ranks),
            left_out=left_out,
        )

    def unranked(self, files: Sequence[int]) -> "LabelManifest":
        """Return the manifest as if these files had no score to be ranked by."""
        return replace(self, ranks=tuple(rank.without(files) for rank in self.ranks))

    @property
    def shown(self) -> NDArray[np.int64]:
        """The files that a valid row names, in order."""
        return np.unique(self.file)


@dataclass(frozen=True, kw_only=True)
class LabelColumns:
    """What the columns of a manifest mean.

    Attributes:
        labels: the label columns; by default those that the table tells (``find_labels``).
        groups: columns of groups; by default those of GROUPS that the table has.
        quantiles: the number of classes that columns of scores are divided into; by default these
            are the labels.
        ranks: columns of scores that images are ranked by. With these alone there are no labels.
        rank_within: column of those whose images are compared, which is one of groups, too; by
            default ``uploader``, where present; "" for none.
    """

    labels: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    quantiles: Mapping[str, int] = field(default_factory=dict)
    ranks: Sequence[str] = ()
    rank_within: str | None = None


def check_label_manifest(
    table: Table, images: Path, columns: LabelColumns, *, skip_bad_rows: bool
) -> LabelManifest:
    """Validate every row.

    Args:
        table: the result of ``read_table``.
        images: the folder that paths are relative to.
        columns: labels, groups and ranks.
        skip_bad_rows: leave bad rows out instead of failing.

    Raises:
        DataError: bad rows, with line numbers; an unknown column.
    """
    frame, problems = table.frame, Problems.of(table)
    names = _label_columns(frame, columns)
    path = check_paths(frame[PATH], images, problems)
    divided_frame, notes = frame, (*table.notes, *_missing_labels(table, names))
    for name, classes in columns.quantiles.items():
        find_labels(frame, (name,))  # raises if there is no such column
        divided = quantile_classes(frame, name, classes, path, problems)
        divided_frame = divided_frame.assign(**{name: divided.cells.categorical})
        notes = (*notes, divided.note)
    _, number = path.numbered()
    # Of all rows, for those that contradict others or are no numbers.
    read_labels(divided_frame, names, number, problems, table.several)
    read_ranks(frame, columns.ranks, columns.rank_within, number, problems, names)
    left_out = problems.settle(table.source, skip=skip_bad_rows)
    kept = ~problems.bad
    frame, divided_frame = (kept_rows(each, kept) for each in (frame, divided_frame))
    files, file = path.select(kept).numbered()
    valid = Problems(table.unit, table.lines[kept])
    ranks = read_ranks(frame, columns.ranks, columns.rank_within, file, valid)
    compared = {rank.within for rank in ranks if rank.within is not None}
    groups = _group_columns(frame, columns.groups)
    return LabelManifest(
        source=table.source,
        images=images.resolve(),
        frame=frame,
        lines=table.lines[kept],
        unit=table.unit,
        files=files,
        file=file,
        left_out=left_out,
        notes=notes,
        labels=read_labels(divided_frame, names, file, valid, table.several),
        ranks=ranks,
        groups=(*groups, *sorted(compared - set(groups))),
    )


def _missing_labels(table: Table, names: Sequence[str]) -> list[str]:
    """Describe the attributes that lines of a Ground Truth manifest should have, and do not."""
    notes = []
    for name in names:
        if name + HUMAN in table.frame.columns:
            blank = TextColumn.of(table.frame[name]).blank
            blank[list(table.bad)] = False
            if rows := np.flatnonzero(blank).tolist():
                notes.append(
                    f"{name} is missing or failed in {len(rows):,} of {len(blank):,} lines, first "
                    f"in line {table.lines[rows[0]]}: not labelled"
                )
    return notes


def _label_columns(frame: pd.DataFrame, columns: LabelColumns) -> tuple[str, ...]:
    if columns.labels is None and not columns.quantiles and columns.ranks:
        return ()
    wanted = tuple(columns.quantiles) or None if columns.labels is None else columns.labels
    return find_labels(frame, wanted)


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
