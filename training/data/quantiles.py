"""Scores as classes: the lowest third is class 1, the highest class 3.

A popularity or any other number becomes equal classes by rank. Images that the number of classes
does not divide are kept out: they are the ones next to the boundaries, which say the least.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.manifest.problems import VALUE, Problems


@dataclass(frozen=True)
class Quantiles:
    """A column of scores as a column of classes."""

    cells: "pd.Series[str]"  # "1" to "n"; blank where there is no score, or the row is kept out
    note: str  # for the user


def quantile_classes(
    frame: pd.DataFrame, name: str, classes: int, file: NDArray[np.object_], problems: Problems
) -> Quantiles:
    """Divide a column of scores into classes of equal size.

    Args:
        frame: (N rows), text.
        name: of the column.
        classes: their number, n.
        file: (N,) path of each row's file, which has one score.
        problems: rows whose cell is no number are added.
    """
    text = frame[name].to_numpy(object)
    score = pd.to_numeric(frame[name].replace("", np.nan), errors="coerce").to_numpy(float)
    wrong = (text != "") & ~np.isfinite(score)
    problems.add(wrong, f"{name} is {VALUE}: expected a number", list(map(str, text)))
    given = np.flatnonzero((text != "") & ~problems.bad)
    # A file that several rows show counts once, with its first score.
    files, first = np.unique(file[given].astype(str), return_index=True)
    values = score[given][first]
    order = np.lexsort((files, values))
    of_file = np.zeros(len(files), np.int64)
    of_file[order] = _ranks(len(files), classes)
    place = np.searchsorted(files, file[given].astype(str))
    cells = np.full(len(text), "", object)
    found = of_file[place]
    cells[given] = np.where(found > 0, found.astype(str), "")
    out = int((of_file == 0).sum())
    return Quantiles(pd.Series(cells, dtype=object), _note(name, classes, values, of_file, out))


def _ranks(count: int, classes: int) -> NDArray[np.int64]:
    """Return the class of each rank, from 1; 0 for those that are kept out, at the boundaries."""
    size, rest = divmod(count, classes)
    parts = []
    for number in range(1, classes + 1):
        parts += [np.full(size, number), np.zeros(int(number <= rest), np.int64)]
    return np.concatenate(parts).astype(np.int64)


def _note(
    name: str, classes: int, values: Float64Array, of_file: NDArray[np.int64], out: int
) -> str:
    """Describe the classes: their sizes, their scores, and what was kept out."""
    ranges = [values[of_file == number] for number in range(1, classes + 1)]
    shown = ", ".join(
        f"{number}: {part.min():g} to {part.max():g}"
        for number, part in enumerate(ranges, start=1)
        if len(part)
    )
    size = len(ranges[0])
    text = f"{name}: {classes} classes of {size:,} images ({shown})"
    return text + (f"; {out:,} kept out, which {classes} does not divide" if out else "")
