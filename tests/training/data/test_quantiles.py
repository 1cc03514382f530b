"""Scores become classes of equal size, and what does not divide is said and kept out."""

import numpy as np
import pandas as pd
import pytest

from augrank.manifest.problems import Problems
from augrank.manifest.text_column import TextColumn
from training.data.quantiles import quantile_classes


def divide(scores: list[str], classes: int = 3, files: list[str] | None = None):
    frame = pd.DataFrame({"popularity": scores}, dtype=str)
    problems = Problems("line", np.arange(2, len(scores) + 2))
    paths = TextColumn.of(files or [f"{n:02d}.jpg" for n in range(len(scores))])
    return quantile_classes(frame, "popularity", classes, paths, problems), problems


def test_ranks_are_divided_evenly():
    found, problems = divide(["5", "1", "9.5", "3", "7", "2"])
    assert list(found.cells) == ["2", "1", "3", "2", "3", "1"]
    assert found.note == "popularity: 3 classes of 2 images (1: 1 to 2, 2: 3 to 5, 3: 7 to 9.5)"
    assert not problems.reasons


@pytest.mark.parametrize(
    ("count", "classes", "out"), [(7, 3, [2]), (8, 3, [2, 5]), (9, 4, [2]), (11, 4, [2, 5, 8])]
)
def test_the_remainder_next_to_the_boundaries_is_kept_out(count, classes, out):
    found, _ = divide([str(n) for n in range(count)], classes)
    cells = list(found.cells)
    assert [n for n, cell in enumerate(cells) if not cell] == out
    sizes = pd.Series([cell for cell in cells if cell]).value_counts()
    assert set(sizes) == {count // classes}
    ranked = [int(cell) for cell in cells if cell]
    assert ranked == sorted(ranked)
    assert f"{len(out)} kept out, which {classes} does not divide" in found.note


def test_what_is_no_number_is_a_bad_row_and_blank_is_not_labelled():
    found, problems = divide(["1", "", "many", "2", "inf", "3"])
    assert list(found.cells) == ["1", "", "", "2", "", "3"]
    assert problems.reasons == {
        2: "popularity is 'many': expected a number",
        4: "popularity is 'inf': expected a number",
    }


def test_a_file_in_several_rows_counts_once():
    found, _ = divide(["1", "1", "2", "3"], files=["a.jpg", "a.jpg", "b.jpg", "c.jpg"])
    assert list(found.cells) == ["1", "1", "2", "3"]
    assert "3 classes of 1 images" in found.note
