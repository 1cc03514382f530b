"""The columns that every reader of a manifest checks alike: augmentation and original."""

import posixpath
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import AUGMENTATION, ORIGINAL_FILE, PATH
from augrank.errors import one_of
from augrank.manifest.problems import Problems, quoted
from augrank.manifest.text_column import TextColumn


def check_augmentations(
    frame: pd.DataFrame, names: Sequence[str], problems: Problems
) -> NDArray[np.int64]:
    """Return the indices of the augmentations in ``names``, int64 (N,); blank is the original."""
    if AUGMENTATION not in frame.columns:
        return np.zeros(len(frame), np.int64)
    cells = TextColumn.of(frame[AUGMENTATION])
    index = {name: number for number, name in enumerate(names)}
    label = np.array([index.get(text or names[0], -1) for text in cells.texts], np.int64)
    why = [
        None if known >= 0 else f"augmentation {quoted(text)}: expected {one_of(names, text)}"
        for text, known in zip(cells.texts, label.tolist(), strict=True)
    ]
    problems.add_each(cells.codes, why)
    labels: NDArray[np.int64] = label[cells.codes]
    return labels


def check_originals(frame: pd.DataFrame, file: TextColumn, problems: Problems) -> TextColumn:
    """Return the original of every row, paths (N,): its own file unless it names another.

    Args:
        frame: (N rows), as read.
        file: (N,) paths, as ``check_paths`` returns them.
        problems: receives the reasons of bad rows.
    """
    if ORIGINAL_FILE not in frame.columns:
        return file
    names, paths = TextColumn.of(frame[ORIGINAL_FILE]), TextColumn.of(frame[PATH])
    # A file's name may be spelled otherwise on the disk than in the manifest.
    spelled = {
        posixpath.normpath(path): file[row]
        for path, row in zip(paths.texts, paths.first_rows.tolist(), strict=True)
        if row >= 0
    }
    clean = names.map(lambda name: posixpath.normpath(name) if name else "")
    original = file.where(names.blank, clean.replace(spelled))
    if AUGMENTATION in frame.columns:
        unlabelled = ~original.equals(file) & TextColumn.of(frame[AUGMENTATION]).blank
        problems.add(unlabelled, "original names another image, but augmentation is blank")
    owner = original.codes[file.first_rows]  # by file; that of one without rows is never looked up
    conflicting = owner[file.codes] != original.codes
    problems.add(conflicting, "an earlier row gives the same file another original")
    return original
