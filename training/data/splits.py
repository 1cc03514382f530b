"""Train, validation and test, by original: all candidates of one image stand on one side."""

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

    Names are ordered by a hash of (seed, name): the first go to test, the next to validation, the
    rest to training. So shares are exact (rounded to whole names), a split does not depend on the
    order of the rows, and images that are added later move few of the others.

    Args:
        names: of the originals. Equal names are one; give images that must stay together (byte
            for byte copies of one another, say) the same name.
        test_share: of the distinct names.
        validation_share: of the distinct names.
        seed: other seeds give other splits.

    Returns:
        int8 (N,): TRAIN, VALIDATION or TEST for each name.

    Raises:
        DataError: too few names for three parts.
    """
    distinct = sorted(
        set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()
    )
    test = max(1, round(test_share * len(distinct)))
    validation = max(1, round(validation_share * len(distinct)))
    if len(distinct) - test - validation < 1:
        raise DataError(
            "there are too few originals to train, validate and test on",
            expected="at least 3 different images, and some hundreds for useful results",
            got=str(len(distinct)),
        )
    side = {
        name: TEST if place < test else VALIDATION if place < test + validation else TRAIN
        for place, name in enumerate(distinct)
    }
    return np.array([side[name] for name in names], np.int8)
