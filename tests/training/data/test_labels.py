import numpy as np
import pandas as pd
import pytest

from augrank.errors import DataError
from augrank.manifest.problems import Problems
from training.data.labels import NOT_LABELLED, check_label, find_labels, read_labels


def read(cells, file=None, names=("kind",)):
    frame = pd.DataFrame(dict.fromkeys(names, cells), dtype=str)
    problems = Problems("line", np.arange(2, len(frame) + 2))
    numbers = np.arange(len(frame)) if file is None else np.array(file)
    return read_labels(frame, names, numbers, problems), problems


def test_classes_are_numbered_and_blank_cells_are_not_labelled():
    (label,), problems = read(["product", "", "style", "product"])
    assert label.classes == ("product", "style")
    assert label.value.tolist() == [0, NOT_LABELLED, 1, 0]
    assert label.counts == {"product": 2, "style": 1}
    assert not problems.reasons


def test_rows_of_one_image_must_agree():
    """Which label is right, nothing tells: none of them is trained on."""
    cells = ["product", "product", "style", "", "", "style"]
    (label,), problems = read(cells, file=[0, 0, 0, 1, 0, 2])
    assert label.value.tolist() == [NOT_LABELLED, NOT_LABELLED, 1]
    assert problems.reasons == {
        0: "kind is 'product', but line 4 gives the same image 'style'",
        1: "kind is 'product', but line 4 gives the same image 'style'",
        2: "kind is 'style', but line 2 gives the same image 'product'",
    }


def test_bad_rows_have_no_labels():
    frame = pd.DataFrame({"kind": ["a", "b"]}, dtype=str)
    problems = Problems("line", np.array([2, 3]), {1: "its file is missing"})
    (label,) = read_labels(frame, ("kind",), np.array([0, 1]), problems)
    assert label.classes == ("a",)
    assert label.value.tolist() == [0, NOT_LABELLED]


@pytest.mark.parametrize(
    ("columns", "wanted", "found"),
    [
        (["kind", "colour"], ("colour",), ("colour",)),
        (["kind", "kind_confidence", "kind_human_annotated"], None, ("kind",)),
        (["label", "note"], None, ("label",)),
        (["product_type"], None, ("product_type",)),
    ],
)
def test_label_columns_are_named_or_found(columns, wanted, found):
    assert find_labels(pd.DataFrame(columns=["relative_im_path", *columns]), wanted) == found


def test_what_is_missing_is_told():
    frame = pd.DataFrame(columns=["relative_im_path", "kind"])
    with pytest.raises(DataError, match=r"no label column 'kinds'.*did you mean kind"):
        find_labels(frame, ("kinds",))
    with pytest.raises(DataError, match=r"there are no labels: expected --labels.*got relative_im"):
        find_labels(frame, None)
    (label,), _ = read(["a", "a"])
    with pytest.raises(
        DataError, match="nothing to tell apart: expected at least 2 classes, got a"
    ):
        check_label(label)


def test_several_classes_at_once_are_a_question_each():
    labels, problems = read(["dress|shoes", "|", "", "shoes", "dress | hat"])
    assert [label.name for label in labels] == ["kind: dress", "kind: hat", "kind: shoes"]
    assert all(label.classes == ("no", "yes") for label in labels)
    assert [label.value.tolist() for label in labels] == [
        [1, 0, NOT_LABELLED, 0, 1],
        [0, 0, NOT_LABELLED, 0, 1],
        [1, 0, NOT_LABELLED, 1, 0],
    ]
    assert not problems.reasons


def test_rows_of_one_image_must_agree_in_each_of_several_classes():
    labels, problems = read(["dress|shoes", "shoes|", "|"], file=[0, 0, 1])
    assert labels[0].value.tolist() == [NOT_LABELLED, 0]
    assert problems.reasons == {
        0: "kind: dress is 'yes', but line 3 gives the same image 'no'",
        1: "kind: dress is 'no', but line 2 gives the same image 'yes'",
    }
