"""Columns of scores that images are ranked by, such as their popularity.

Scores of images of one uploader are comparable; those of two uploaders say as much about how many
people follow them. So an image's standing is that among its uploader's images, where the uploader
is known, and among all images otherwise; and images of one uploader are compared, not those of two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.errors import DataError, one_of
from augrank.manifest.problems import Problems
from augrank.manifest.text_column import TextColumn
from training.data.samples import NOT_LABELLED
from training.data.scores import read_scores

STEPS = 10_000  # of a standing: 0 is the lowest, STEPS the highest
SPAN = STEPS + 1
UPLOADER = "uploader"


@dataclass(frozen=True)
class Rank:
    """A score that images are ranked by."""

    name: str  # of the column
    within: str | None  # column of those whose images are compared; None: all are
    score: Float64Array  # (N,) of each image; NaN if blank
    # (N,) number of each image's uploader, also of one without a score; 0 without such a column
    owner: NDArray[np.int64]
    standing: NDArray[np.int64]  # (N,) 0..STEPS among the owner's images; NOT_LABELLED if alone

    @property
    def place(self) -> NDArray[np.int64]:
        """Owner and standing in one number, (N,); NOT_LABELLED without a standing.

        Of two images whose numbers // SPAN are the same, the higher number has the higher score.
        """
        known = self.standing != NOT_LABELLED
        return np.where(known, self.owner * SPAN + self.standing, NOT_LABELLED)

    @classmethod
    def of(
        cls, name: str, within: str | None, score: Float64Array, owner: NDArray[np.int64]
    ) -> "Rank":
        """Compute the standings of scores (N,) among those of the same owner (N,)."""
        return cls(name, within, score, owner, standings(score, owner))

    def without(self, files: Sequence[int]) -> "Rank":
        """Return the rank as if these files had no score."""
        score = self.score.copy()
        score[list(files)] = np.nan
        return replace(self, score=score, standing=standings(score, self.owner))


def standings(score: Float64Array, owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the share of the owner's other images that each image beats, in STEPS, (N,).

    Ties count half. An image without a score, or without another one of its owner, has none
    (NOT_LABELLED); so have images that all have the same score.
    """
    standing = np.full(len(score), NOT_LABELLED)
    known = np.flatnonzero(np.isfinite(score))
    order = known[np.lexsort((score[known], owner[known]))]
    if not len(order):
        return standing
    place = np.arange(len(order))
    of_owner, alike = owner[order], score[order]
    new_owner = np.r_[True, of_owner[1:] != of_owner[:-1]]
    new_score = new_owner | np.r_[True, alike[1:] != alike[:-1]]
    images, first = _runs(new_owner)
    equal, lowest = _runs(new_score)
    beaten = lowest - first + (equal - 1) / 2
    comparable = equal < images  # some score of the owner differs
    share = beaten[comparable] / (images[comparable] - 1)
    standing[order[place[comparable]]] = np.round(share * STEPS)
    return standing


def _runs(new: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the length and the start of the run that each place is in, (N,).

    Args:
        new: (N,) where runs begin.
    """
    start = np.flatnonzero(new)
    length = np.diff(np.r_[start, len(new)])
    return np.repeat(length, length), np.repeat(start, length)


def read_ranks(
    frame: pd.DataFrame,
    names: Sequence[str],
    within: str | None,
    file: NDArray[np.int64],
    problems: Problems,
    labels: Sequence[str] = (),
) -> tuple[Rank, ...]:
    """Read the scores of distinct files.

    Args:
        frame: (N rows), text.
        names: of the columns of scores.
        within: column of those whose images are compared; by default ``uploader``, where present.
            An image whose cell is blank is compared with no other.
        file: (N,) number of each row's file, 0 to F - 1.
        problems: rows are added whose score is no number, or contradicts another row.
        labels: names of label columns.

    Raises:
        DataError: there is no such column, or names do not fit.
    """
    columns = [str(name) for name in frame.columns]
    _check_names(names, labels, columns, within)
    if within is None and UPLOADER in columns:
        within = UPLOADER
    within = within or None  # "": all images are compared
    return tuple(_read(frame, name, within, file, problems) for name in names)


def _read(
    frame: pd.DataFrame,
    name: str,
    within: str | None,
    file: NDArray[np.int64],
    problems: Problems,
) -> Rank:
    score, row = read_scores(frame, name, file, problems)
    owner = np.zeros(len(score), np.int64)
    if within is not None and len(frame):
        cells = TextColumn.of(frame[within])
        # Each row without an uploader is alone: the first numbers, in the order of their names.
        alone = np.flatnonzero(cells.blank)
        number = cells.numbered()[1] + max(len(alone) - 1, 0)
        number[alone[np.argsort(alone.astype(str))]] = np.arange(len(alone))
        # Of a file without a score the first row that tells: its images of other ranks have one.
        rows = np.argsort(cells.blank, kind="stable")
        first = rows[np.unique(file[rows], return_index=True)[1]]
        owner = number[np.where(row >= 0, row, first)]
    return Rank.of(name, within, score, owner)


def _check_names(
    names: Sequence[str], labels: Sequence[str], columns: Sequence[str], within: str | None
) -> None:
    if len(set(names)) < len(names):
        raise DataError(
            "--ranks does not fit",
            expected="the names of columns of scores, each once",
            got=", ".join(names),
        )
    for name in (*names, *([within] if within else [])):
        if name not in columns:
            raise DataError(f"there is no column {name!r}", expected=one_of(columns, name))
    for name in names:
        for taken in (f"{name}_score", f"{name}_percentile", f"{name}_above_median"):
            if taken in labels:
                raise DataError(
                    f"the label {taken} has the name of a column of answers for the rank {name}",
                    expected="another name",
                    got=taken,
                    remedy=f"Map it: --column {taken}2={taken}, and name that.",
                )
