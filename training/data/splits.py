"""Split into train, validation and test by original: all its candidates are in one split."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)


def split_originals(
    names: Sequence[str], *, test_share: float, validation_share: float, seed: int
) -> NDArray[np.int8]:
    """Assign every name to a split.

    Names are sorted by a hash of (seed, name): the first are the test split, the next the
    validation split, the rest the training split. So shares are exact (rounded to whole names), the
    split does not depend on the order of the rows, and adding images moves few of the others.

    Args:
        names: of the originals. Images that must be in the same split, such as copies of one
            another, have the same name.
        test_share: share of the distinct names.
        validation_share: share of the distinct names.
        seed: of the hash.

    Returns:
        int8 (N,): TRAIN, VALIDATION or TEST for each name.

    Raises:
        DataError: there are too few names for three splits.
    """
    distinct = sorted(
        set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()
    )
    test = max(1, round(test_share * len(distinct)))
    validation = max(1, round(validation_share * len(distinct)))
    if len(distinct) - test - validation < 1:
        raise DataError(
            "there are too few originals for training, validation and test",
            expected="at least 3 different images, and hundreds for useful results",
            got=str(len(distinct)),
        )
    split = {
        name: TEST if rank < test else VALIDATION if rank < test + validation else TRAIN
        for rank, name in enumerate(distinct)
    }
    return np.array([split[name] for name in names], np.int8)
