"""Targets of a manifest: outcomes in words, hints about what is none, and their sources."""

import pytest

from augrank.errors import DataError
from tests.training.data.manifest.manifests import read
from training.data.manifest.targets import find_targets, outcomes


def test_outcomes_may_be_words_in_any_case(folder):
    cells = ("TRUE", "false", "Yes", "no", "1.0", "0", "")
    rows = "".join(f"images/000.png,{cell}\n" for cell in cells)
    frame = read(folder, "relative_im_path,bounced\n" + rows).frame
    assert find_targets(frame) == ("bounced",)
    assert outcomes(frame, "bounced", {}).label.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("n/a", ": leave a missing value blank"),
        ("-", ": leave a missing value blank"),
        ("45%", ": for a rate, give counts in open_rate_successes and open_rate_trials"),
        ("0.45", ": for a rate"),
        ('"0,45"', ": for a rate"),
        ("3", ""),
        ("often", ""),
    ],
)
def test_what_is_no_outcome_gets_a_hint(folder, cell, hint):
    with pytest.raises(DataError) as caught:
        read(folder, f"relative_im_path,open_rate\nimages/000.png,1\nimages/001.png,{cell}\n")
    line = str(caught.value).splitlines()[1]
    got = cell.strip('"')
    expected = f"  line 3: open_rate: expected 0, 1 or blank, got {got!r}{hint}"
    assert line.startswith(expected)
    assert hint or line.rstrip(". ") == expected


def test_two_sources_of_one_target_are_refused(folder):
    text = "relative_im_path,open_rate,open_rate_successes,open_rate_trials\nimages/000.png,1,3,9\n"
    with pytest.raises(DataError, match="open_rate has two sources"):
        read(folder, text)


@pytest.mark.parametrize(
    ("yes", "no"), [("TRUE", "False"), ("t", "F"), ("Yes", "NO"), ("y", "N"), ("1.0", "0")]
)
def test_outcomes_in_words(folder, yes, no):
    text = f"relative_im_path,open_rate\nimages/000.png,{yes}\nimages/001.png,{no}\n"
    manifest = read(folder, text)
    assert outcomes(manifest.frame, "open_rate", {}).label.tolist() == [1, 0]
