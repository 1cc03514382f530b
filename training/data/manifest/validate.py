"""Validate the columns of a manifest: mark the bad rows, return the values of the good ones."""

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
    """Normalise the paths; reject blanks, paths outside the folder, and missing files."""
    distinct, number = np.unique(column.to_numpy(object), return_inverse=True)
    clean = np.array([posixpath.normpath(path) if path else "" for path in distinct], object)
    values = [str(value) for value in column]
    problems.add((distinct == "")[number], f"{PATH} is blank")
    outside = np.array([_is_outside(path) for path in clean])
    problems.add(outside[number], f"{PATH} {{}} is outside the images folder", values)
    missing = np.array([not (images / path).is_file() for path in clean]) & ~outside
    problems.add(missing[number], f"there is no file {{}} in {_safe(images)}", values)
    result: NDArray[np.object_] = clean[number]
    return result


def _is_outside(path: str) -> bool:
    return posixpath.isabs(path) or path.split("/")[0] == ".."


def _safe(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")


def check_augmentations(
    frame: pd.DataFrame, names: Sequence[str], problems: Problems
) -> NDArray[np.int64]:
    """Return the indices of the augmentations in ``names``, int64 (N,); blank is the original."""
    if AUGMENTATION not in frame.columns:
        return np.zeros(len(frame), np.int64)
    index = {name: number for number, name in enumerate(names)}
    values = [str(value) for value in frame[AUGMENTATION]]
    label = np.array([index.get(value or names[0], -1) for value in values], np.int64)
    for unknown in sorted({value for value, n in zip(values, label, strict=True) if n < 0}):
        mask = np.array([value == unknown for value in values])
        problems.add(mask, f"augmentation {unknown!r}: expected {one_of(names, unknown)}")
    return label


def check_originals(
    frame: pd.DataFrame, file: NDArray[np.object_], problems: Problems
) -> NDArray[np.object_]:
    """Return the original of every row, paths (N,): its own file unless it names another."""
    if ORIGINAL_FILE not in frame.columns:
        return file
    names = frame[ORIGINAL_FILE].to_numpy(object)
    original = np.array([posixpath.normpath(name) if name else "" for name in names], object)
    original = np.where(names == "", file, original)
    if AUGMENTATION in frame.columns:
        unlabelled = (original != file) & (frame[AUGMENTATION].to_numpy(object) == "")
        problems.add(unlabelled, "original names another image, but augmentation is blank")
    owner: dict[str, str] = {}
    for name, value in zip(file, original, strict=True):
        owner.setdefault(name, value)
    conflicting = np.array([owner[f] != value for f, value in zip(file, original, strict=True)])
    problems.add(conflicting, "an earlier row gives the same file another original")
    return original


def check_target(frame: pd.DataFrame, name: str, problems: Problems) -> None:
    """Check that outcomes are 0, 1 or blank, or integer counts, and true probabilities 0 to 1."""

    def check(
        column: str,
        wrong: Callable[[NDArray[np.float64]], NDArray[np.bool_]],
        why: str,
        needed: NDArray[np.bool_] | None = None,
    ) -> None:
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
        for count, other in ((name + TRIALS, successes), (name + SUCCESSES, trials)):
            required = other.to_numpy(object) != ""
            check(count, lambda n: (n < 0) | (n != np.floor(n)), "a whole number", required)
        check(name + SUCCESSES, lambda n: n > counts, f"at most {name}{TRIALS}")
    if name + PROBABILITY in frame.columns:
        check(name + PROBABILITY, lambda n: (n < 0) | (n > 1), "0 to 1 or blank")


def check_context(column: pd.Series, problems: Problems) -> None:
    """Check that a numeric column is finite; a categorical one may hold any text."""
    if is_numeric(column):
        text = [str(value) for value in column]
        why = f"{column.name}: expected a finite number, as in most rows, got {{}}"
        problems.add(~np.isfinite(numbers(column)), why, text)


def is_numeric(column: pd.Series) -> bool:
    """Return whether at least half of the non-blank cells hold numbers."""
    text = column[column != ""].str.lower()
    words = pd.to_numeric(text, errors="coerce").isna() & ~text.isin(["nan", "inf", "-inf"])
    return len(text) > 0 and float(words.mean()) <= 0.5


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Convert text to float64 (N,); NaN where it is not a number."""
    values = pd.to_numeric(column, errors="coerce")
    return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)
