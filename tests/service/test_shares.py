"""Whoever holds most makes room for the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.shares import over_share


@pytest.mark.parametrize(
    ("held", "most", "given"),
    [
        ({"ada": 5}, 5, {}),
        ({"ada": 9}, 5, {"ada": 4}),
        ({"ada": 9, "bob": 2}, 8, {"ada": 3}),
        ({"ada": 9, "bob": 7, "eva": 1}, 9, {"ada": 5, "bob": 3}),
        ({}, 0, {}),
    ],
)
def test_who_holds_most_gives(held, most, given):
    assert over_share(held, most) == given


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_nobody_gives_as_long_as_somebody_holds_more(held, most):
    given = over_share(held, most)
    kept = {holder: size - given.get(holder, 0) for holder, size in held.items()}
    assert sum(kept.values()) <= most
    assert all(size > 0 for size in given.values())
    assert (given == {}) == (sum(held.values()) <= most)
    assert all(kept[holder] == max(kept.values()) for holder in given)
    assert sum(kept.values()) > most - len(given) or not given  # no more than needed
