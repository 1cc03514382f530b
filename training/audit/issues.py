"""Find what is wrong with labelled images."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.images.decode import decode
from training.data.labels import Label
from training.data.samples import NOT_LABELLED

IssueKind = Literal["label", "contradiction", "duplicate", "small", "broken"]
FOLDS = 5
SIDE_ONLY = 16  # px of the decoded image; only the sides of its file are of interest
STRENGTH = 0.01  # C of the logistic regression, on standardised features


@dataclass(frozen=True)
class Issue:
    """Something that a person should look at."""

    kind: IssueKind
    path: str
    label: str = ""  # the label in question
    given: str = ""  # its class in the manifest
    proposed: str = ""  # the class that is likely right; of a duplicate, the other file
    confidence: float | None = None  # probability of what is proposed
    detail: str = ""


def label_errors(
    label: Label,
    files: NDArray[np.int64],
    names: Sequence[str],
    features: Float32Array,
    group: NDArray[np.int64],
) -> list[Issue]:
    """Find likely label errors by confident learning (Northcutt et al., 2021).

    Each image is classified by a model that has not seen it, nor others of its group.

    Args:
        label: of the images.
        files: (N,) their numbers.
        names: paths of all files.
        features: (N, F).
        group: (N,).

    Returns:
        The issues, the surest first; none if a class has too few groups for every fold.
    """
    from cleanlab.filter import find_label_issues

    value = label.value[files]
    known = np.flatnonzero(value != NOT_LABELLED)
    probability = _out_of_fold(features[known], value[known], group[known], len(label.classes))
    if probability is None:
        return []
    ranked = find_label_issues(
        value[known], probability, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    found = []
    for place in np.asarray(ranked).tolist():
        best = int(probability[place].argmax())
        row = int(known[place])
        if best != value[row]:
            found.append(
                Issue(
                    "label",
                    names[files[row]],
                    label.name,
                    label.classes[value[row]],
                    label.classes[best],
                    float(probability[place, best]),
                )
            )
    return found


def _out_of_fold(
    features: Float32Array, value: NDArray[np.int64], group: NDArray[np.int64], classes: int
) -> Float64Array | None:
    """Return probabilities of images by models that have not seen them, (N, K)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [len(np.unique(group[value == number])) for number in range(classes)]
    if min(groups) < FOLDS:
        return None
    center, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    standard = (features - center) / spread
    probability = np.zeros((len(value), classes))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, held in folds.split(standard, value, group):
        if len(np.unique(value[train])) < classes:
            return None
        model = LogisticRegression(C=STRENGTH, max_iter=300).fit(standard[train], value[train])
        probability[held] = model.predict_proba(standard[held])
    return probability


def duplicates(
    files: NDArray[np.int64], copy_of: NDArray[np.int64], names: Sequence[str]
) -> list[Issue]:
    """Return the files that show the same picture as another.

    Args:
        files: (N,) numbers.
        copy_of: (N,) the first place in ``files`` of one that shows the same.
        names: paths of all files.
    """
    return [
        Issue("duplicate", names[files[place]], proposed=names[files[first]],
              detail="shows the same picture")
        for place, first in enumerate(copy_of.tolist())
        if first != place
    ]  # fmt: skip


def small_files(
    files: NDArray[np.int64], names: Sequence[str], images: Path, least_px: int, threads: int
) -> list[Issue]:
    """Return the images whose shorter side has fewer pixels.

    Args:
        files: numbers of files that can be decoded.
        names: paths of all files, relative to ``images``.
        images: the folder.
        least_px: of the shorter side.
        threads: files that are read at a time.
    """

    def sides(name: str) -> tuple[int, int]:
        # By the decoder, which reads what Pillow alone does not: HEIC, and files with repairs.
        image = decode((images / name).read_bytes(), SIDE_ONLY)
        return image.width, image.height

    paths = [names[file] for file in files.tolist()]
    with ThreadPoolExecutor(threads) as pool:
        return [
            Issue("small", path, detail=f"{width} x {height} pixels")
            for path, (width, height) in zip(paths, pool.map(sides, paths), strict=True)
            if min(width, height) < least_px
        ]


def left_out(bad: Mapping[int, str], names: Sequence[str], kind: IssueKind) -> list[Issue]:
    """Return the files that training would leave out.

    Args:
        bad: the reason, by number of the file.
        names: paths of all files.
        kind: of the issues.
    """
    return [Issue(kind, names[file], detail=why) for file, why in sorted(bad.items())]
