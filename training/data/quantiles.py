"""Scores as classes: the lowest third is class 1, the highest class 3.

A popularity or any other number becomes equal classes by rank. Images that the number of classes
does not divide are kept out: they are the ones next to the boundaries, which say the least.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.manifest.problems import Problems
from augrank.manifest.text_column import TextColumn
from training.data.scores import read_scores


@dataclass(frozen=True)
class Quantiles:
    """A column of scores as a column of classes."""

    cells: TextColumn  # "1" to "n"; blank where there is no score, or the row is kept out
    note: str  # for the user


def quantile_classes(
    frame: pd.DataFrame, name: str, classes: int, path: TextColumn, problems: Problems
) -> Quantiles:
    """Divide a column of scores into classes of equal size.

    Args:
        frame: (N rows), text.
        name: of the column.
        classes: their number, n.
        path: (N,) of each row's file, which has one score.
        problems: rows are added whose cell is no number, or contradicts another row.
    """
    _, file = path.numbered()
    score, _ = read_scores(frame, name, file, problems)
    scored = np.flatnonzero(np.isfinite(score))  # files in the order of their names
    order = scored[np.argsort(score[scored], kind="stable")]
    of_file = np.zeros(len(score), np.int64)
    of_file[order] = _ranks(len(order), classes)
    given = ~TextColumn.of(frame[name]).blank & ~problems.bad
    texts = ["", *map(str, range(1, classes + 1))]
    cells = TextColumn(np.where(given, of_file[file], 0), texts)
    return Quantiles(cells, _note(name, classes, score[scored], of_file[scored]))


def _ranks(count: int, classes: int) -> NDArray[np.int64]:
    """Return the class of each rank, from 1; 0 for those that are kept out, at the boundaries."""
    size, rest = divmod(count, classes)
    parts = []
    for number in range(1, classes + 1):
        parts += [np.full(size, number), np.zeros(int(number <= rest), np.int64)]
    return np.concatenate(parts).astype(np.int64)


def _note(name: str, classes: int, values: Float64Array, of_file: NDArray[np.int64]) -> str:
    """Describe the classes: their sizes, their scores, and what was kept out."""
    ranges = [values[of_file == number] for number in range(1, classes + 1)]
    shown = ", ".join(
        f"{number}: {part.min():g} to {part.max():g}"
        for number, part in enumerate(ranges, start=1)
        if len(part)
    )
    size, out = len(ranges[0]), int((of_file == 0).sum())
    text = f"{name}: {classes} classes of {size:,} images ({shown})"
    return text + (f"; {out:,} kept out, which {classes} does not divide" if out else "")
