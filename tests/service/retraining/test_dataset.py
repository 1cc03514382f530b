"""What is filtered, what is learned from, and that test pictures stay test pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augrank.images.look import Look
from service.models.evaluation import EvaluatedImage
from service.models.gate import GateSettings
from service.retraining.candidates import Start, candidate_options
from service.retraining.data.dataset import (
    OWN_TEST,
    TEST,
    TRAIN,
    Accepted,
    Row,
    digest_of,
    extended,
    in_test_share,
)
from service.retraining.data.looks import same_picture_as
from service.retraining.filters import Item, in_words, proposal_of, reasons_of
from service.retraining.verdict import judge_candidates
from tests.service.retraining.support import CLASSES


def item(number: int, value: str = "red", **more) -> Item:
    given = {"sha256": f"{number:064x}", "advertiser": "ada", "label": "colour", "size": (90, 80)}
    given |= {"shows": f"{number:064x}"} | more
    return Item(id=number, fix_id=number, value=value, **given)


def accepted(number: int, value: str = "red", **more) -> Accepted:
    name = f"{number:064x}"
    given = {"picture": name, "shows": name, "file": name, "advertiser": "ada", "label": "colour"}
    return Accepted(fix_id=number, value=value, **(given | more))


def row(number: int, value: str = "red", **more) -> Row:
    name = f"{number:064x}"
    return Row(
        **({"sha256": name, "picture": name, "set": TRAIN, "labels": {"colour": value}} | more)
    )


def test_filters_say_what_is_wrong_with_each_fix():
    items = [
        item(1),
        item(2, size=(63, 200)),
        item(3, size=None),
        item(4, shows="a"),
        item(5, shows="a", advertiser="bob"),
        item(6, "red", shows="b"),
        item(7, "blue", shows="b", advertiser="bob"),
        item(8, "red", shows=row(50).picture),
        item(9, "green", shows=row(50).picture, sha256="c"),
        item(10, "bar", label="shape", shows=row(51).picture),
    ]
    found = reasons_of(items, [row(50, "red"), row(51, "red")], 64)
    assert found == {
        1: [],
        2: [{"kind": "small", "width": 63, "height": 200, "least": 64}],
        3: [{"kind": "unreadable"}],
        4: [],
        5: [{"kind": "duplicate", "of": "fix", "fix_id": 4, "advertiser": "ada"}],
        6: [{"kind": "conflict", "others": [{"advertiser": "bob", "value": "blue", "fix_id": 7}]}],
        7: [{"kind": "conflict", "others": [{"advertiser": "ada", "value": "red", "fix_id": 6}]}],
        8: [
            {"kind": "conflict", "others": [{"advertiser": "ada", "value": "green", "fix_id": 9}]},
            {"kind": "duplicate", "of": "dataset", "advertiser": ""},
        ],
        9: [
            {"kind": "conflict", "others": [{"advertiser": "ada", "value": "red", "fix_id": 8}]},
            {"kind": "contradicts", "value": "red", "advertiser": ""},
        ],
        10: [],  # the dataset holds the picture, but not this label of it
    }
    assert [proposal_of(found[number]) for number in (1, 2, 6)] == ["keep", "drop", "drop"]


def test_people_who_change_their_mind_do_not_contradict_themselves():
    own = row(1, "blue", fixes={"colour": 3}, advertiser="ada")
    assert reasons_of([item(9, "red", shows=own.picture)], [own], 1) == {9: []}
    bob = [item(9, "red", shows=own.picture, advertiser="bob")]
    against = {"kind": "contradicts", "value": "blue", "advertiser": "ada"}
    assert reasons_of(bob, [own], 1) == {9: [against]}


def test_reasons_tell_of_other_advertisers_only_to_those_who_may_know():
    bobs = row(1, "blue", fixes={"colour": 3}, advertiser="bob")
    common = row(2, "blue")
    items = [
        item(1, "red", shows="x"),
        item(2, "blue", shows="x", advertiser="bob"),
        item(3, "green", shows="y", advertiser="bob"),
        item(4, "green", shows="y"),
        item(5, "red", shows=bobs.picture),
        item(6, "blue", shows=bobs.picture, label="colour", sha256="c" * 64),
        item(7, "red", shows=common.picture),
    ]
    found = reasons_of(items[:4], [bobs, common], 1)
    found |= reasons_of(items[4:5], [bobs], 1) | reasons_of(items[5:6], [bobs], 1)
    found |= reasons_of(items[6:], [common], 1)
    words = {number: [in_words(reason, None) for reason in each] for number, each in found.items()}
    own = {number: [in_words(reason, "ada") for reason in each] for number, each in found.items()}
    assert words[1] == ["Fixes of this picture disagree: bob says blue."]
    assert words[4] == ["Another fix says the same of this picture."]
    assert words[5] == ["The dataset holds this picture as blue."]
    assert words[6] == ["The dataset holds this picture with this label."]
    assert (own[1], own[5]) == (["The label may be wrong."],) * 2
    assert (own[4], own[6]) == (["It adds nothing new."],) * 2
    assert own[7] == words[7] == ["The dataset holds this picture as blue."]  # nobody's


def test_a_version_takes_new_labels_and_loses_those_of_fixes_that_do_not_hold():
    old = [
        row(1, "blue", fixes={"colour": 11}),
        row(2, "green", fixes={"colour": 12}, set=TEST),
        row(3, "red"),
    ]
    new = [
        accepted(21, "red", shows=old[2].picture, label="shape"),  # of a picture that is there
        accepted(22, "blue", shows=old[1].picture),  # a test picture is corrected, and stays one
        accepted(23, "red"),
        accepted(24, "red", shows="d" * 64),
        accepted(25, "blue", shows="d" * 64, advertiser="bob"),
    ]
    change = extended(old, {12, 21, 22, 23, 24, 25}, new)
    found = {each.picture: each for each in change.rows}
    assert (change.added, change.pruned, change.disputed) == (2, 1, 1)
    assert found[old[0].picture].labels == {}
    told = {"labels": {"colour": "blue"}, "fixes": {"colour": 22}}
    before = {"colour": {"12": "green"}}  # still holds, for somebody else
    assert found[old[1].picture] == replace(old[1], **told, replaced=before)
    assert found[old[2].picture].labels == {"colour": "red", "shape": "red"}
    assert found["d" * 64].labels == {}
    assert found[f"{23:064x}"].labels == {"colour": "red"}


def test_a_crop_is_trained_on_and_tests_see_the_whole_picture():
    numbers = range(100, 160)
    cropped = [accepted(number, file=f"{number:060x}crop") for number in numbers]
    rows = extended([], set(numbers), cropped).rows
    assert {each.sha256 == each.picture for each in rows if each.set == TRAIN} == {False}
    assert {each.sha256 == each.picture for each in rows if each.set != TRAIN} == {True}


def test_an_advertiser_with_enough_fixes_gets_a_test_set_of_its_own():
    many = [accepted(number, advertiser="many") for number in range(OWN_TEST)]
    few = [accepted(1000 + number, advertiser="few") for number in range(OWN_TEST - 1)]
    rows = extended([], {each.fix_id for each in many + few}, many + few).rows
    sets = {
        each.advertiser: {e.set for e in rows if e.advertiser == each.advertiser} for each in rows
    }
    assert sets == {"many": {TRAIN, "test:many"}, "few": {TRAIN, TEST}}
    share = sum(in_test_share(f"{number:064x}") for number in range(4000)) / 4000
    assert 0.17 < share < 0.23


fixes = st.lists(
    st.builds(
        lambda fix, shows, value, who: (fix, shows, value, who),
        st.integers(1, 40),
        st.integers(0, 12),
        st.sampled_from(CLASSES["colour"]),
        st.sampled_from(["ada", "bob"]),
    ),
    unique_by=lambda each: each[0],
    max_size=25,
)


@given(rounds=st.lists(fixes, max_size=4), dropped=st.sets(st.integers(1, 200)))
@settings(max_examples=60)
def test_no_picture_is_ever_both_tested_and_trained_on(rounds, dropped):
    rows: tuple[Row, ...] = ()
    known: set[int] = set()
    for turn, told in enumerate(rounds):
        new = [
            accepted(50 * turn + fix, value, shows=f"{shows:064x}", advertiser=who)
            for fix, shows, value, who in told
        ]
        known |= {each.fix_id for each in new}
        later = extended(rows, known - dropped, new).rows
        assert extended(rows[::-1], known - dropped, new[::-1]).rows == later
        before = {each.picture: each.set for each in rows}
        after = {each.picture: each.set for each in later}
        assert len(after) == len(later)
        assert before.items() <= after.items()  # nothing changes its set, or goes
        trained = {each.sha256 for each in later if each.set == TRAIN}
        assert not trained & {each.sha256 for each in later if each.set != TRAIN}
        rows = later


def test_a_fix_that_is_undone_gives_back_the_label_that_it_had_replaced():
    base = row(1, "blue", labels={"colour": "blue", "shape": "box"})
    (fixed,) = extended([base], {11}, [accepted(11, "red", shows=base.picture)]).rows
    assert (fixed.labels["colour"], fixed.fixes) == ("red", {"colour": 11})
    (again,) = extended([fixed], {12}, [accepted(12, "green", shows=base.picture)]).rows
    assert (again.labels["colour"], again.fixes) == ("green", {"colour": 12})
    assert extended([again], set(), []).rows == (base,)
    assert extended([fixed], set(), []).pruned == 1


def test_another_fix_that_still_holds_takes_the_place_of_one_that_is_undone():
    base = row(1, "blue")
    told = [
        accepted(11, "red", shows=base.picture),
        accepted(12, "red", shows=base.picture, advertiser="bob", second=True),
        accepted(13, "red", shows="f" * 64, advertiser="bob", second=True),  # of no row
    ]
    (fixed,) = extended([base], {11, 12, 13}, told).rows
    (left,) = extended([fixed], {12}, []).rows
    assert (left.labels, left.fixes) == ({"colour": "red"}, {"colour": 12})
    assert extended([left], set(), []).rows == (base,)
    (kept,) = extended([fixed], {11}, []).rows
    assert (kept.fixes, kept.replaced) == ({"colour": 11}, {"colour": {"0": "blue"}})


def test_a_label_that_fixes_dispute_is_known_again_when_they_agree():
    base = row(1, "blue")
    told = [
        accepted(11, "red", shows=base.picture),
        accepted(12, "green", shows=base.picture, advertiser="bob"),
    ]
    (disputed,) = extended([base], {11, 12}, told).rows
    assert disputed.labels == {}
    assert extended([disputed], {11, 12}, []).rows == (disputed,)
    (red,) = extended([disputed], {11}, []).rows
    assert (red.labels, red.fixes) == ({"colour": "red"}, {"colour": 11})
    assert extended([disputed], set(), []).rows == (base,)


def test_fixes_that_do_not_hold_any_more_are_not_let_in():
    change = extended([], {21}, [accepted(21, "red"), accepted(22, "blue")])
    assert [(each.picture, each.fixes) for each in change.rows] == [(f"{21:064x}", {"colour": 21})]
    assert change.withdrawn == 1


def test_files_that_the_service_takes_for_one_picture_are_one():
    looks = [Look.of(np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8))
             for n in range(4)]  # fmt: skip
    assert same_picture_as(list("abcd"), looks, {}) == [0, 1, 2, 3]
    assert same_picture_as(list("abcd"), looks, {"b": 7, "d": 7, "c": 8}) == [0, 1, 2, 1]
    assert same_picture_as(list("abcb"), looks, {"a": 7, "b": 7}) == [0, 0, 2, 0]


def test_the_digest_of_a_version_is_that_of_its_contents():
    rows = [row(number) for number in range(9)]
    assert digest_of(rows) == digest_of(rows[::-1])
    assert digest_of(rows) != digest_of([*rows[:8], replace(rows[8], labels={"colour": "blue"})])
    assert digest_of(rows) != digest_of([*rows[:8], replace(rows[8], set=TEST)])


def test_candidates_start_from_the_live_model_and_one_as_it_did():
    options = {"backbone": "resnet34", "epochs": 6, "weights": "imagenet", "freeze_epochs": 1,
               "out": "elsewhere"}  # fmt: skip
    start = Start(options=options, weights="live.pt", settings={"batch_size": 8})
    first, second, *others = candidate_options(start, 8)
    assert (first["weights"], first["learning_rate"], first["freeze_epochs"]) == (
        "live.pt",
        0.02,
        0,
    )
    assert (second["weights"], second["freeze_epochs"], second["epochs"]) == ("imagenet", 1, 6)
    assert [each["seed"] for each in (first, second, *others)] == list(range(8))
    assert {each["batch_size"] for each in others} == {8}
    assert len({json.dumps(each | {"seed": 0}, sort_keys=True) for each in others}) == 6
    alone = candidate_options(Start(options={}, weights=None, settings={}), 3)
    assert alone == [{"seed": 0}, {"seed": 1, "epochs": 20}, {"seed": 2, "learning_rate": 0.05}]


def told(right: dict[str, float], fixed: int, common: int) -> list[EvaluatedImage]:
    """Return an evaluation that is right on these shares of corrected and other pictures."""
    found = []
    for name, count, advertiser in (("fixed", fixed, "ada"), ("common", common, "")):
        for number in range(count):
            truth = "red" if number < right[name] * count else "blue"
            found.append(EvaluatedImage(f"{name}{number}", advertiser, "colour", truth, "red", 0.9))
    return found


def paired(right: dict[str, float]) -> list[EvaluatedImage]:
    """The same questions with the answers of another model."""
    return [replace(each, truth="red", predicted=each.truth) for each in told(right, 100, 200)]


def test_a_candidate_that_unlearns_what_nobody_corrected_is_refused():
    live = paired({"fixed": 0.0, "common": 0.95})
    good, bad = (
        paired({"fixed": fixed, "common": common}) for fixed, common in ((0.7, 0.94), (0.9, 0.7))
    )
    alone = judge_candidates(live, {"b" * 64: bad}, GateSettings())
    assert alone.chosen is None
    assert "worse on the common test set" in " ".join(alone.reasons)
    both = judge_candidates(live, {"b" * 64: bad, "a" * 64: good}, GateSettings())
    assert both.chosen == "a" * 64
    assert both.figures("a" * 64)["common_accuracy"] == pytest.approx(0.94)
    assert judge_candidates([], {"a" * 64: []}, GateSettings()).chosen is None


def test_pictures_of_the_base_whose_label_comes_from_a_fix_are_not_uncorrected():
    live = paired({"fixed": 0.0, "common": 0.95})
    other = paired({"fixed": 0.0, "common": 0.7})
    corrected = {(each.sha256, "colour") for each in live if each.sha256.startswith("common")}
    touched = {each for each in corrected if not each[0].endswith("0")}
    verdict = judge_candidates(live, {"a" * 64: other}, GateSettings(), touched)
    assert verdict.common == {"": 0.95, "a" * 64: 0.7}  # of the 20 that are left
    assert judge_candidates(live, {"a" * 64: other}, GateSettings(), corrected).common == {}
