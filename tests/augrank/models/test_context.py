import numpy as np
import pytest

from augrank.errors import BadContext
from augrank.models.context import (
    CategoricalColumn,
    ContextEncoder,
    NumericColumn,
    Vocabulary,
    normalize_category,
)

ENCODER = ContextEncoder(
    [
        CategoricalColumn(name="campaign_type", values=("Newsletter", "Promotional")),
        CategoricalColumn(name="season", values=("", "spring")),
        NumericColumn(name="price", low=1.0, high=9.0),
    ]
)


def test_columns_are_laid_side_by_side_in_order():
    row = ENCODER.encode({"campaign_type": "Promotional", "season": "spring", "price": "2.5"})
    assert row.tolist() == [0, 1, 0, 1, 2.5]
    assert row.dtype == np.float32


def test_a_column_may_be_left_out_only_if_training_saw_it_left_out():
    assert ENCODER.encode({"campaign_type": "Newsletter", "price": 3})[2] == 1
    with pytest.raises(BadContext, match=r"'campaign_type' is missing.*one of Newsletter, Prom"):
        ENCODER.encode({"price": 3})


@pytest.mark.parametrize(
    "value", [float("nan"), "nan", float("inf"), "cheap", None, True, [1], 10**400, 1e300]
)
def test_a_number_must_be_finite(value):
    with pytest.raises(BadContext, match="finite number"):
        ENCODER.encode({"campaign_type": "Newsletter", "price": value})


def test_unknown_values_and_columns_name_what_is_allowed():
    with pytest.raises(BadContext, match=r"did you mean Newsletter\?"):
        ENCODER.encode({"campaign_type": "newsletters", "price": 1})
    with pytest.raises(BadContext, match="expected one of Newsletter, Promotional, got nan"):
        ENCODER.encode({"campaign_type": float("nan"), "price": 1})
    with pytest.raises(BadContext, match="one of campaign_type, season, price"):
        ENCODER.encode({"campaing": "x"})


def test_many_rows_encode_as_each_one_does():
    contexts = [
        {"campaign_type": "Newsletter", "price": 1},
        {"campaign_type": "Promotional", "price": 2},
    ]
    assert np.array_equal(ENCODER.encode_many(contexts), [ENCODER.encode(c) for c in contexts])


def test_the_example_is_accepted():
    assert ENCODER.example() == {"campaign_type": "Newsletter", "season": "spring", "price": 1.0}
    assert ENCODER.encode(ENCODER.example()).sum() == 3


def test_case_and_separators_do_not_make_another_category():
    spellings = [
        "Product Announcement",
        "product-announcement",
        "Product_Announcement",
        " PRODUCT  announcement-",
    ]
    assert {normalize_category(text) for text in spellings} == {"product announcement"}
    column = CategoricalColumn(name="campaign_type", values=("Product Announcement", "Survey"))
    encoder = ContextEncoder([column])
    for text in spellings:
        assert encoder.encode({"campaign_type": text}).tolist() == [1, 0]
        assert encoder.canonical({"campaign_type": text, "other": 1}) == {
            "campaign_type": "Product Announcement",
            "other": 1,
        }


def test_values_that_normalise_alike_are_matched_exactly_only():
    encoder = ContextEncoder([CategoricalColumn(name="kind", values=("Pop Up", "pop-up", "x"))])
    assert encoder.encode({"kind": "pop-up"}).tolist() == [0, 1, 0]
    assert encoder.encode({"kind": "X"}).tolist() == [0, 0, 1]
    with pytest.raises(BadContext, match="'Pop Up' and 'pop-up' differ only in case or separators"):
        encoder.encode({"kind": "POP UP"})
    assert encoder.canonical({"kind": "POP UP"}) == {"kind": "POP UP"}


def test_a_value_of_separators_alone_is_not_a_blank():
    vocabulary = Vocabulary(("", "-", "spring"))
    assert [vocabulary.find(text) for text in ("", "-", "_", "Spring")] == ["", "-", None, "spring"]
