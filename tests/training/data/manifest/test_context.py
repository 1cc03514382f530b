"""Context of a manifest: kinds of columns, what a request can carry, and doubts."""

import pytest

from augrank.contracts.request_fields import MAX_TEXT, RESERVED
from augrank.errors import DataError
from augrank.models.context import CategoricalColumn, NumericColumn
from augrank.runtime.wire import IMAGE_PARTS
from augrank.tasks.recommend.request import Options
from tests.training.data.manifest.manifests import read
from training.data.manifest.context import context_columns


def columns(folder, *cells: str, **options):
    rows = "".join(f"images/000.png,{cell}\n" for cell in cells)
    manifest = read(folder, "relative_im_path,code\n" + rows, context=("code",), **options)
    return manifest, context_columns(manifest.frame, manifest.context, manifest.numeric)[0]


def test_most_cells_decide_the_kind_unless_it_is_declared(folder):
    assert columns(folder, "1", "2.5")[1] == NumericColumn(name="code", low=1, high=2.5)
    _, column = columns(folder, "007", "12", context_types={"code": "categorical"})
    assert column == CategoricalColumn(name="code", values=("007", "12"))
    with pytest.raises(DataError, match="line 2: code: expected a finite number, got 'a'"):
        columns(folder, "a", "b", "1", context_types={"code": "numeric"})
    with pytest.raises(DataError, match="names 'spend', which is not a context column"):
        columns(folder, "1", context_types={"spend": "numeric"})


def test_columns_that_may_be_meant_otherwise_are_noted(folder):
    assert columns(folder, "007", "12")[0].notes == (
        "code: '007' has leading zeros, and is read as a number; if it is a code, declare "
        "categories: --context-type code=categorical",
    )
    assert "more than float32" in columns(folder, "20000001", "5")[0].notes[0]
    many = [f'"{number},50"' for number in range(25)]
    assert "25 categories look like numbers" in columns(folder, *many)[0].notes[0]
    assert columns(folder, *many, context_types={"code": "categorical"})[0].notes == ()
    assert columns(folder, "1", "2.5", "-3e4", "0")[0].notes == ()


def test_what_no_request_can_carry_is_refused(folder):
    with pytest.raises(DataError, match=r"line 3: code: .*at most 200 characters.*\(201 char"):
        columns(folder, "a", "x" * (MAX_TEXT + 1))
    assert columns(folder, "a", "x" * MAX_TEXT)[1].width == 2
    with pytest.raises(DataError, match="cannot be named 'target'"):
        read(folder, "relative_im_path,target\nimages/000.png,a\n", context=("target",))
    assert {*Options.model_fields, *IMAGE_PARTS, "instances"} == RESERVED


def test_accents_may_be_marks_of_their_own(folder):
    """Spreadsheets and macOS write them so; to readers they are the same."""
    _, column = columns(folder, "M\u00f6bel", "Mo\u0308bel")
    assert column.values == ("M\u00f6bel",)
    assert column.vocabulary.find("mo\u0308bel") == "M\u00f6bel"


@pytest.mark.parametrize("name", ["{price}", "a{}b", "{0}"])
def test_names_of_columns_may_have_braces(folder, name):
    text = f"relative_im_path,{name}\nimages/000.png,1\nimages/001.png,2\nimages/002.png,x\n"
    with pytest.raises(DataError) as caught:
        read(folder, text, context=(name,))
    assert f"line 4: {name}: expected a finite number, got 'x'" in str(caught.value)
