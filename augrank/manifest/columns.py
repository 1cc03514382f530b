"""The columns that every reader of a manifest checks alike: augmentation and original."""

import posixpath
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import AUGMENTATION, ORIGINAL_FILE, PATH
from augrank.errors import one_of
from augrank.manifest.problems import Problems, quoted


def check_augmentations(
    frame: pd.DataFrame, names: Sequence[str], problems: Problems
) -> NDArray[np.int64]:
    """Return the indices of the augmentations in ``names``, int64 (N,); blank is the original."""
    if AUGMENTATION not in frame.columns:
        return np.zeros(len(frame), np.int64)
    index = {name: number for number, name in enumerate(names)}
    values = [str(value) for value in frame[AUGMENTATION]]
    label = np.array([index.get(value or names[0], -1) for value in values], np.int64)
    unknown = {value for value, number in zip(values, label, strict=True) if number < 0}
    why = {
        value: f"augmentation {quoted(value)}: expected {one_of(names, value)}" for value in unknown
    }
    problems.add_each([why.get(value) for value in values])
    return label


def check_originals(
    frame: pd.DataFrame, file: NDArray[np.object_], problems: Problems
) -> NDArray[np.object_]:
    """Return the original of every row, paths (N,): its own file unless it names another."""
    if ORIGINAL_FILE not in frame.columns:
        return file
    names = frame[ORIGINAL_FILE].to_numpy(object)
    # A file's name may be spelled otherwise on the disk than in the manifest.
    spelled = dict(zip(map(posixpath.normpath, frame[PATH]), file, strict=True))
    clean = [posixpath.normpath(name) if name else "" for name in names]
    original = np.array([spelled.get(name, name) for name in clean], object)
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
