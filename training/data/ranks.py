"""Columns of scores that images are ranked by, such as their popularity.

Scores of images of one uploader are comparable; those of two uploaders say as much about how many
people follow them. So an image's standing is that among its uploader's images, where the uploader
is known, and among all images otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from augrank.arrays import Float64Array
from augrank.errors import DataError, one_of
from augrank.manifest.problems import VALUE, Problems
from training.data.samples import NOT_LABELLED

STEPS = 10_000  # of a standing: 0 is the lowest, STEPS the highest
UPLOADER = "uploader"


@dataclass(frozen=True)
class Rank:
    """A score that images are ranked by."""

    name: str  # of the column
    within: str | None  # column of those whose images are compared; None: all are
    score: Float64Array  # (N,) of each image; NaN if blank
    owner: NDArray[np.int64]  # (N,) number of each image's uploader; 0 without such a column
    standing: NDArray[np.int64]  # (N,) 0..STEPS among the owner's images; NOT_LABELLED if alone

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
    order = known[np.argsort(owner[known], kind="stable")]
    _, first = np.unique(owner[order], return_index=True)
    for images in np.split(order, first[1:]):
        if len(images) > 1 and np.ptp(score[images]) > 0:
            beaten = (rankdata(score[images]) - 1) / (len(images) - 1)
            standing[images] = np.round(beaten * STEPS)
    return standing


def read_ranks(
    frame: pd.DataFrame,
    names: Sequence[str],
    within: str | None,
    file: NDArray[np.int64],
    problems: Problems,
) -> tuple[Rank, ...]:
    """Read the scores of distinct files.

    Args:
        frame: (N rows), text.
        names: of the columns of scores.
        within: column of those whose images are compared; by default ``uploader``, where present.
            An image whose cell is blank is compared with no other.
        file: (N,) number of each row's file, 0 to F - 1. The first score of a file counts.
        problems: rows whose score is no number are added.

    Raises:
        DataError: there is no such column.
    """
    columns = [str(name) for name in frame.columns]
    for name in (*names, *([within] if within else [])):
        if name not in columns:
            raise DataError(f"there is no column {name!r}", expected=one_of(columns, name))
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
    text = frame[name].to_numpy(object)
    number = pd.to_numeric(frame[name].replace("", np.nan), errors="coerce").to_numpy(float)
    wrong = (text != "") & ~np.isfinite(number)
    problems.add(wrong, f"{name} is {VALUE}: expected a number", list(map(str, text)))
    count = int(file.max(initial=-1)) + 1
    score, owner = np.full(count, np.nan), np.zeros(count, np.int64)
    rows = np.flatnonzero((text != "") & ~problems.bad)
    if within is not None:
        cells = frame[within].to_numpy(object).astype(str)
        # Each row without an uploader is alone.
        named = np.where(cells == "", np.char.add("\0", np.arange(len(cells)).astype(str)), cells)
        numbers = np.unique(named, return_inverse=True)[1]
        owner[file[::-1]] = numbers[::-1]
    score[file[rows[::-1]]] = number[rows[::-1]]  # the first row's is written last
    return Rank.of(name, within, score, owner)
