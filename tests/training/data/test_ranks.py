"""Scores as standings: whose images are compared, and what cannot be."""

import numpy as np
import pandas as pd
import pytest

from augrank.errors import DataError
from augrank.manifest.problems import Problems
from training.data.ranks import SPAN, STEPS, read_ranks, standings
from training.data.samples import NOT_LABELLED

NAN = float("nan")


def read(rows: list[tuple[str, str, int]], within: str | None = None):
    """Read (likes, uploader, file) rows."""
    frame = pd.DataFrame(rows, columns=["likes", "uploader", "file"])
    problems = Problems("line", np.arange(2, len(rows) + 2))
    file = frame.pop("file").to_numpy(np.int64)
    return read_ranks(frame, ["likes"], within, file, problems)[0], problems


def test_a_standing_is_among_the_images_of_an_uploader():
    rank, problems = read(
        [("5", "a", 0), ("900", "b", 1), ("7", "a", 2), ("6", "a", 3), ("100", "b", 4)]
    )
    assert not problems.bad.any()
    assert rank.within == "uploader"
    assert rank.standing.tolist() == [0, STEPS, STEPS, STEPS // 2, 0]


def test_a_place_tells_owner_and_standing():
    rank, _ = read([("5", "a", 0), ("900", "b", 1), ("7", "a", 2), ("100", "b", 3), ("1", "c", 4)])
    known = rank.place[:4]
    assert rank.place[4] == NOT_LABELLED
    assert (known // SPAN).tolist() == rank.owner[:4].tolist()
    assert (known % SPAN).tolist() == rank.standing[:4].tolist()


def test_all_images_are_compared_where_no_uploader_counts():
    rank, _ = read([("5", "a", 0), ("900", "b", 1), ("7", "a", 2)], within="")
    assert rank.within is None
    assert rank.standing.tolist() == [0, STEPS, STEPS // 2]


def test_an_image_that_cannot_be_compared_has_no_standing():
    score = np.array([1, 1, 3, NAN, 5, 5, 6])
    owner = np.array([0, 0, 1, 1, 2, 2, 2])
    # Two equal scores say nothing; one image alone neither; ties count half.
    expected = [NOT_LABELLED] * 4 + [STEPS // 4, STEPS // 4, STEPS]
    assert standings(score, owner).tolist() == expected


def test_images_without_an_uploader_are_alone():
    rank, _ = read([("5", "", 0), ("9", "", 1), ("1", "a", 2), ("2", "a", 3)])
    assert rank.standing.tolist() == [NOT_LABELLED, NOT_LABELLED, 0, STEPS]


def test_an_image_without_a_score_is_its_uploaders():
    rank, _ = read(
        [("", "b", 0), ("5", "a", 1), ("", "", 2), ("", "a", 2), ("", "", 3), ("7", "b", 4)]
    )
    owner = rank.owner.tolist()
    assert owner[0] == owner[4] != owner[1] == owner[2]  # the last row's is nobody else's
    assert owner.count(owner[3]) == 1


def test_a_file_has_one_score_and_the_uploader_of_that_row():
    rank, problems = read(
        [("", "a", 0), ("5", "b", 0), ("50", "b", 0), ("7", "b", 1), ("", "b", 2), ("1", "a", 3)]
    )
    assert rank.score[[1, 3]].tolist() == [7, 1]
    assert np.isnan(rank.score[[0, 2]]).all()  # nothing tells which score of the first is right
    assert rank.owner[1] != rank.owner[3]
    assert problems.bad.tolist() == [False, True, True, False, False, False]
    for row, score in ((1, "5"), (2, "50")):
        assert problems.reasons[row] == (
            f"likes is '{score}', but another row gives the same image another score"
        )
    assert rank.without([1]).standing.tolist() == [NOT_LABELLED] * 4


def test_standings_of_many_owners_are_those_of_each():
    rng = np.random.default_rng(0)
    owner, score = rng.integers(0, 40, 300), rng.integers(0, 5, 300).astype(float)
    score[rng.random(300) < 0.1] = NAN
    found = standings(score, owner)
    for number in range(40):
        images = np.flatnonzero((owner == number) & np.isfinite(score))
        for image in images:
            others = score[images[images != image]]
            if np.ptp(score[images]) > 0:
                beaten = (others < score[image]).mean() + (others == score[image]).mean() / 2
                assert found[image] == round(beaten * STEPS)
            else:
                assert found[image] == NOT_LABELLED


def test_a_score_that_is_no_number_is_a_bad_row():
    _, problems = read([("5", "a", 0), ("many", "a", 1), ("inf", "a", 2)])
    assert problems.bad.tolist() == [False, True, True]
    assert "'many'" in problems.reasons[1]
    assert "expected a number" in problems.reasons[1]


def test_unknown_columns_are_named():
    frame = pd.DataFrame({"likes": ["1"]})
    problems = Problems("line", np.array([2]))
    with pytest.raises(DataError, match=r"there is no column 'like'.*likes"):
        read_ranks(frame, ["like"], None, np.zeros(1, np.int64), problems)
    with pytest.raises(DataError, match="there is no column 'owner'"):
        read_ranks(frame, ["likes"], "owner", np.zeros(1, np.int64), problems)
    with pytest.raises(DataError, match="each once"):
        read_ranks(frame, ["likes", "likes"], None, np.zeros(1, np.int64), problems)
    with pytest.raises(DataError, match=r"label likes_score.*another name"):
        read_ranks(frame, ["likes"], None, np.zeros(1, np.int64), problems, ["likes_score"])
