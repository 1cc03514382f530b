import numpy as np
import pytest

from augrank.errors import DataError
from training.data.splits import TEST, TRAIN, VALIDATION, split_originals

SHARES = {"test_share": 0.2, "validation_share": 0.15}


def test_shares_are_exact_and_rows_of_one_name_stay_together():
    names = [f"{number % 200}.png" for number in range(1200)]
    split = split_originals(names, **SHARES, seed=0)
    by_name = {name: set(split[np.array(names) == name]) for name in set(names)}
    assert all(len(sides) == 1 for sides in by_name.values())
    counts = np.bincount([sides.pop() for sides in by_name.values()])
    assert counts[[TRAIN, VALIDATION, TEST]].tolist() == [130, 30, 40]


def test_order_of_rows_does_not_matter_but_the_seed_does():
    names = [f"{number}.png" for number in range(100)]
    split = dict(zip(names, split_originals(names, **SHARES, seed=0), strict=True))
    backwards = dict(zip(names[::-1], split_originals(names[::-1], **SHARES, seed=0), strict=True))
    other = dict(zip(names, split_originals(names, **SHARES, seed=1), strict=True))
    assert split == backwards
    assert split != other


def test_added_images_move_few_of_the_others():
    names = [f"{number}.png" for number in range(1000)]
    before = split_originals(names, **SHARES, seed=0)
    more = [*names, *(f"new{number}.png" for number in range(100))]
    after = split_originals(more, **SHARES, seed=0)[:1000]
    assert (before != after).mean() < 0.03


def test_too_few_originals_are_refused():
    assert sorted(split_originals(["a", "b", "c"], **SHARES, seed=0)) == [0, 1, 2]
    with pytest.raises(DataError, match="too few originals"):
        split_originals(["a", "b", "b"], **SHARES, seed=0)
