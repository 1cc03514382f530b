"""Checks of a manifest's columns: each marks the bad rows and gives the good ones their values."""

import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import (
    AUGMENTATION,
    ORIGINAL_FILE,
    PATH,
    PROBABILITY,
    SUCCESSES,
    TRIALS,
)
from augrank.errors import one_of
from training.data.manifest.read import Problems


def check_paths(column: pd.Series, images: Path, problems: Problems) -> NDArray[np.object_]:
    """Normalise the paths; refuse blanks, paths that leave the folder, and missing files."""
    distinct, number = np.unique(column.to_numpy(object), return_inverse=True)
    clean = np.array([posixpath.normpath(path) if path else "" for path in distinct], object)
    values = [str(value) for value in column]
    problems.add((distinct == "")[number], f"{PATH} is blank")
    outside = np.array([_leaves(path) for path in clean])
    problems.add(outside[number], f"{PATH} {{}} leads out of the images folder", values)
    missing = np.array([not (images / path).is_file() for path in clean]) & ~outside
    problems.add(missing[number], f"there is no file {{}} in {_safe(images)}", values)
    result: NDArray[np.object_] = clean[number]
    return result


def _leaves(path: str) -> bool:
    return posixpath.isabs(path) or path.split("/")[0] == ".."


def _safe(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")


def check_augmentations(
    frame: pd.DataFrame, names: Sequence[str], problems: Problems
) -> NDArray[np.int64]:
    """Numbers of the augmentations in ``names``, int64 (N,); blank is the original."""
    if AUGMENTATION not in frame.columns:
        return np.zeros(len(frame), np.int64)
    number = {name: place for place, name in enumerate(names)}
    values = [str(value) for value in frame[AUGMENTATION]]
    label = np.array([number.get(value or names[0], -1) for value in values], np.int64)
    for unknown in sorted({value for value, place in zip(values, label, strict=True) if place < 0}):
        mask = np.array([value == unknown for value in values])
        problems.add(mask, f"augmentation {unknown!r}: expected {one_of(names, unknown)}")
    return label


def check_originals(
    frame: pd.DataFrame, file: NDArray[np.object_], problems: Problems
) -> NDArray[np.object_]:
    """The original of every row, paths (N,): the row's own file unless it names another."""
    if ORIGINAL_FILE not in frame.columns:
        return file
    given = frame[ORIGINAL_FILE].to_numpy(object)
    original = np.array([posixpath.normpath(name) if name else "" for name in given], object)
    original = np.where(given == "", file, original)
    if AUGMENTATION in frame.columns:
        unsaid = (original != file) & (frame[AUGMENTATION].to_numpy(object) == "")
        problems.add(
            unsaid, "original names another image, but augmentation is blank: say which it was"
        )
    owner: dict[str, str] = {}
    for name, value in zip(file, original, strict=True):
        owner.setdefault(name, value)
    torn = np.array([owner[name] != value for name, value in zip(file, original, strict=True)])
    problems.add(torn, "the same file has another original above")
    return original


def check_target(frame: pd.DataFrame, name: str, problems: Problems) -> None:
    """0, 1 or blank; or whole successes of whole trials; and a true probability of 0 to 1."""

    def check(column: str, wrong: Callable[[NDArray[np.float64]], NDArray[np.bool_]], why: str,
              needed: NDArray[np.bool_] | None = None) -> None:  # fmt: skip
        text = [str(value) for value in frame[column]]
        blank = np.array([value == "" for value in text])
        values = numbers(frame[column])
        with np.errstate(invalid="ignore"):
            bad = ~blank & (~np.isfinite(values) | wrong(values))
        if needed is not None:
            bad |= blank & needed
        problems.add(bad, f"{column}: expected {why}, got {{}}", text)

    if name in frame.columns:
        check(name, lambda n: (n != 0) & (n != 1), "0, 1 or blank")
    else:
        successes, trials = frame[name + SUCCESSES], frame[name + TRIALS]
        counts = numbers(trials)
        check(name + TRIALS, lambda n: (n < 0) | (n != np.floor(n)), "a whole number",
              needed=successes.to_numpy(object) != "")  # fmt: skip
        check(name + SUCCESSES, lambda n: (n < 0) | (n != np.floor(n)), "a whole number",
              needed=trials.to_numpy(object) != "")  # fmt: skip
        check(name + SUCCESSES, lambda n: n > counts, f"at most {name}{TRIALS}")
    if name + PROBABILITY in frame.columns:
        check(name + PROBABILITY, lambda n: (n < 0) | (n > 1), "0 to 1 or blank")


def check_context(column: pd.Series, problems: Problems) -> None:
    """A numeric column is finite throughout; any text will do in a categorical one."""
    if is_numeric(column):
        text = [str(value) for value in column]
        why = f"{column.name}: expected a finite number as most rows have, got {{}}"
        problems.add(~np.isfinite(numbers(column)), why, text)


def is_numeric(column: pd.Series) -> bool:
    """Whether at least half of the cells that are not blank hold numbers."""
    text = column[column != ""].str.lower()
    words = pd.to_numeric(text, errors="coerce").isna() & ~text.isin(["nan", "inf", "-inf"])
    return len(text) > 0 and float(words.mean()) <= 0.5


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Text to float64 (N,); NaN where it is no number."""
    values = pd.to_numeric(column, errors="coerce")
    return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)
