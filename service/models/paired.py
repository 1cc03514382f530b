"""Answers of several models to the same questions, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError
from service.models.evaluation import EvaluatedImage, unique

Booleans = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Paired:
    """What the live model and candidates said of the same labels of the same images.

    Attributes:
        image: (answers,) number of the image, from 0; one with several labels has several answers.
        live: (answers,) whether the live model is right.
        right: (answers, candidates) whether each candidate is right.
        names: of the candidates.
        groups: (answers,) whether an answer belongs to a class or an advertiser, by
            ("class", "colour: red") or ("advertiser", "dealer_007").
    """

    image: Integers
    live: Booleans
    right: Booleans
    names: tuple[str, ...]
    groups: Mapping[tuple[str, str], Booleans]

    def differences(self, among: Booleans | None = None) -> Integers:
        """Return right answers of each candidate less those of the live model, by image.

        Args:
            among: (answers,) those that count; None: all.

        Returns:
            int64 (images, candidates).
        """
        chosen = np.ones(len(self.live), bool) if among is None else among
        image = self.image[chosen]
        each = self.right[chosen].astype(np.int64) - self.live[chosen].astype(np.int64)[:, None]
        order = np.argsort(image, kind="stable")
        first = np.flatnonzero(np.diff(image[order], prepend=-1))
        found: Integers = np.add.reduceat(each[order], first, axis=0)
        return found


def pair(
    live: Sequence[EvaluatedImage], candidates: Mapping[str, Sequence[EvaluatedImage]]
) -> Paired:
    """Pair the evaluations of the live model and of candidates.

    Args:
        live: of the live model.
        candidates: by name.

    Raises:
        DataError: they are not of the same images, or of none.
    """
    first = {image.key: image for image in unique(live)}
    if not first:
        raise DataError(
            "there is nothing to compare with", expected="images of a test set", got="none"
        )
    right = [_right(first, name, images) for name, images in candidates.items()]
    images = list(first.values())
    return Paired(
        image=_numbered([each.sha256 for each in images]),
        live=np.array([each.correct for each in images]),
        right=np.array(right, bool).reshape(len(candidates), len(images)).T,
        names=tuple(candidates),
        groups=_groups(images),
    )


def _right(
    first: Mapping[tuple[str, str, str], EvaluatedImage],
    name: str,
    images: Sequence[EvaluatedImage],
) -> list[bool]:
    told = {image.key: image for image in unique(images)}
    other = next((key for key in first if key not in told), None) or next(
        (key for key in told if key not in first or told[key].truth != first[key].truth), None
    )
    if other is not None:
        raise DataError(
            f"{name[:12]} and the live model were not evaluated on the same images",
            expected=f"{len(first)} answers, with the same right classes",
            got=f"{len(told)}; {other[2]} of {other[0][:12]} differs",
            remedy="Evaluate both on the same version of the test sets.",
        )
    return [told[key].correct for key in first]


def _groups(images: Sequence[EvaluatedImage]) -> dict[tuple[str, str], Booleans]:
    names = {
        "class": np.array([f"{each.label}: {each.truth}" for each in images]),
        "advertiser": np.array([each.advertiser for each in images]),
    }
    return {
        (kind, str(name)): values == name
        for kind, values in names.items()
        for name in np.unique(values)
        if name
    }


def _numbered(names: Sequence[str]) -> Integers:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
