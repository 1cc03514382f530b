"""Columns of scores, such as the popularity of a picture."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.manifest.problems import VALUE, Problems
from augrank.manifest.text_column import TextColumn
from augrank.manifest.values import numbers


def read_scores(
    frame: pd.DataFrame, name: str, file: NDArray[np.int64], problems: Problems
) -> tuple[Float64Array, NDArray[np.int64]]:
    """Read the score of every file.

    Args:
        frame: (N rows), text.
        name: of the column.
        file: (N,) number of each row's file, 0 to F - 1.
        problems: rows whose cell is no number, and all rows of a file with two scores, are added.

    Returns:
        Scores, (F,), NaN where there is none; and the row of each, (F,), -1 where there is none.
    """
    cells = TextColumn.of(frame[name])
    number = numbers(cells.texts)[cells.codes]
    wrong = ~cells.blank & ~np.isfinite(number)
    problems.add(wrong, f"{name} is {VALUE}: expected a number", cells)
    rows = np.flatnonzero(~cells.blank & ~problems.bad)
    row = np.full(int(file.max(initial=-1)) + 1, -1)
    row[file[rows[::-1]]] = rows[::-1]  # the first one is written last
    score = np.where(row >= 0, number[row], np.nan) if len(number) else np.full(len(row), np.nan)
    contrary = np.zeros(len(score), bool)
    contrary[file[rows[number[rows] != score[file[rows]]]]] = True
    row[contrary], score[contrary] = -1, np.nan  # nothing tells which score is right
    several = np.zeros(len(cells), bool)
    several[rows] = contrary[file[rows]]
    problems.add(
        several, f"{name} is {VALUE}, but another row gives the same image another score", cells
    )
    return score, row
