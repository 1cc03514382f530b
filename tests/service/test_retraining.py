"""Retraining: what is filtered, what is learned from, and that test pictures stay test pictures."""

import importlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from augrank.bundle.spec import seal
from augrank.errors import AugrankError
from augrank.images.look import Look
from service.api.retraining import Item as ItemAnswer
from service.app import create_app
from service.database.session import Database
from service.database.tables import Dataset, Job, Model, ReviewItem, StoredImage
from service.errors import Conflict
from service.images.store import ImageStore
from service.jobs.queue import DONE, FAILED, REVIEW, WAITING, events_of
from service.jobs.worker import GONE_AFTER
from service.models.evaluation import EvaluatedImage
from service.models.gate import GateSettings
from service.models.promotion import commit
from service.models.registry import ROLLBACK, Change, Registry
from service.retraining import jobs, training, work
from service.retraining.candidates import Start, candidate_options
from service.retraining.data import dataset
from service.retraining.data.dataset import (
    OWN_TEST,
    TEST,
    TRAIN,
    Accepted,
    Row,
    digest_of,
    extended,
    in_test_share,
    read_rows,
)
from service.retraining.data.looks import same_picture_as
from service.retraining.filters import Item, in_words, proposal_of, reasons_of
from service.retraining.jobs import (
    RetrainOptions,
    RetrainWorker,
    add_if_due,
    add_retraining,
    try_again,
)
from service.retraining.process import Ended, Share, run_command
from service.retraining.promote import promote_row
from service.retraining.review import Decision, decide, finish, left_of, next_items
from service.retraining.verdict import judge_candidates
from service.retraining.work import Retraining, RetrainWork
from service.settings import ServiceSettings
from tests.service.pages import Caller, photo, sha256

CLASSES = {"colour": ("blue", "green", "red"), "shape": ("bar", "box", "disc")}


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


# --- the filters ---------------------------------------------------------------------------------


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
        5: [{"kind": "duplicate", "of": "fix", "fix_id": 4}],
        6: [{"kind": "conflict", "others": [{"advertiser": "bob", "value": "blue", "fix_id": 7}]}],
        7: [{"kind": "conflict", "others": [{"advertiser": "ada", "value": "red", "fix_id": 6}]}],
        8: [
            {"kind": "conflict", "others": [{"advertiser": "ada", "value": "green", "fix_id": 9}]},
            {"kind": "duplicate", "of": "dataset"},
        ],
        9: [
            {"kind": "conflict", "others": [{"advertiser": "ada", "value": "red", "fix_id": 8}]},
            {"kind": "contradicts", "value": "red"},
        ],
        10: [],  # the dataset holds the picture, but not this label of it
    }
    assert [proposal_of(found[number]) for number in (1, 2, 6)] == ["keep", "drop", "drop"]


def test_people_who_change_their_mind_do_not_contradict_themselves():
    own = row(1, "blue", fixes={"colour": 3}, advertiser="ada")
    assert reasons_of([item(9, "red", shows=own.picture)], [own], 1) == {9: []}
    bob = [item(9, "red", shows=own.picture, advertiser="bob")]
    assert reasons_of(bob, [own], 1) == {9: [{"kind": "contradicts", "value": "blue"}]}


def test_reasons_name_other_advertisers_only_to_those_who_may_know():
    (reason,) = reasons_of(
        [item(1, shows="x"), item(2, "blue", shows="x", advertiser="bob")], [], 1
    )[1]
    assert in_words(reason, None) == "Fixes of this picture disagree: bob says blue."
    assert in_words(reason, "ada") == "Fixes of this picture disagree: others say otherwise."


# --- versions of the dataset ---------------------------------------------------------------------


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


# --- candidates, the gate ------------------------------------------------------------------------


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


# --- the job -------------------------------------------------------------------------------------


@pytest.fixture
def parts(database: Database, classify_export, tmp_path) -> Retraining:
    registry = Registry(database, tmp_path)
    registry.start_with(classify_export.bundle)
    return Retraining(database, ImageStore(tmp_path, 2**30), registry, tmp_path, threads=1)


@pytest.fixture
def caller(parts: Retraining, backend) -> Caller:
    """A service whose workers do not run."""
    configured = ServiceSettings(folder=parts.folder, max_upload_mb=1)
    app = create_app(configured, parts.database, backend)
    return Caller(TestClient(app, raise_server_exceptions=False))


def corrected(caller: Caller, count: int, advertiser: str = "ada") -> list[bytes]:
    """Send pictures, and correct the colour of each."""
    images = [photo(number) for number in range(count)]
    for image, answer in zip(images, caller.classify(*images, advertiser=advertiser), strict=True):
        value = "green" if answer["labels"]["colour"]["value"] != "green" else "red"
        response = caller.fix(image, "colour", value, advertiser=advertiser)
        assert response.status_code == 201, response.text
    return images


class KilledError(BaseException):
    """The process ends here."""


class Commands:
    """Runs steps in this process, and stands in for training and export."""

    def __init__(self, bundle: Path, run: Path) -> None:
        self.bundle, self.run, self.ran = bundle, run, list[str]()
        self.kill_after: str | None = None
        self.fails = False  # whether the disk is full

    def __call__(self, command, log, *, share, stopped, seen=lambda line: None) -> Ended:
        _, module, *rest = command
        name = rest[0]
        self.ran.append(name)
        if module == "service.retraining.steps":
            ended = self._step(name, Path(rest[1]))
        elif self.fails:
            ended = Ended(1, "the disk is full")
        else:
            getattr(self, f"_{name}")(rest[1:])
            ended = Ended(0, "")
        if self.kill_after == name:
            self.kill_after = None
            raise KilledError
        return ended

    def _step(self, name: str, folder: Path) -> Ended:
        try:
            importlib.import_module(f"service.retraining.steps.{name}").run(folder)
        except AugrankError as error:
            return Ended(2, str(error))
        return Ended(0, "")

    def _fit(self, words: list[str]) -> None:
        options = json.loads(Path(words[1]).read_text())
        out = Path(options["out"])
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.run / "backbone.pt", out / "backbone.pt")
        record = json.loads((self.run / "run.json").read_text())
        (out / "run.json").write_text(json.dumps(record))

    def _build(self, words: list[str]) -> None:
        bundle = Path(words[words.index("--out") + 1]) / "bundle"
        shutil.copytree(self.bundle, bundle)
        content = json.loads((bundle / "bundle.json").read_text())
        content["version"] = words[words.index("--version") + 1]
        content["sha256"] = seal(content)
        (bundle / "bundle.json").write_text(json.dumps(content))


@pytest.fixture
def commands(classify_export, classify_run, monkeypatch) -> Commands:
    stand_in = Commands(classify_export.bundle, classify_run.run)
    monkeypatch.setattr(work, "run_command", stand_in)
    monkeypatch.setattr(training, "run_command", stand_in)
    return stand_in


def go_on(parts: Retraining) -> Job:
    """Work on the retraining as a new process does."""
    with parts.database.writes() as session:
        job = jobs.last_retraining(session)
        assert job is not None
        if job.seen_at is not None:
            job.seen_at = datetime.now(UTC) - 2 * GONE_AFTER
    worker = RetrainWorker(parts.database, RetrainWork(parts))
    claim = worker.claim()
    if claim is not None:
        worker._do(claim)
    with parts.database.reads() as session:
        found = session.get(Job, job.id)
        assert found is not None
        return found


def begin(parts: Retraining, **options) -> int:
    given = RetrainOptions(**{"candidates": 2, "min_side": 8, **options})
    with parts.database.writes() as session:
        return add_retraining(session, given, "eva").id


def test_a_retraining_goes_on_where_it_was_killed_and_does_nothing_twice(
    parts, caller, commands, classify_run, monkeypatch
):
    corrected(caller, 12)
    number = begin(parts, base=str(classify_run.run), review=False)
    for name in ("base", "check", "fit", "evaluate"):  # the result is there, its row is not
        commands.kill_after = name
        with pytest.raises(KilledError):
            go_on(parts)
    job = go_on(parts)
    assert (job.state, job.error, jobs.stage_of(job)) == (DONE, "", "end")
    # A command whose process was killed before it could say so is asked again: fit resumes itself.
    assert commands.ran == ["base", "check", "fit", "fit", "build", "fit", "build",
                            "evaluate", "evaluate", "evaluate"]  # fmt: skip
    result = jobs.result_of(job)
    assert result is not None
    assert result["chosen"] is None  # both are the live model under another version
    assert "not better than the live model" in " ".join(result["reasons"])
    with parts.database.reads() as session:
        (version,) = session.query(Dataset).all()
        assert session.query(ReviewItem).filter(ReviewItem.taken).count() == 12
        texts = [event.text for event in events_of(session, number)]
    assert [sum(text.startswith(start) for text in texts) for start in
            ("12 fixes", "240 images", "the filters", "version 1")] == [1, 1, 1, 1]  # fmt: skip
    rows = read_rows(parts.folder / version.folder / "rows.jsonl")
    assert sum(each.set == TEST for each in rows if not each.advertiser) == 48  # of the run
    with pytest.raises(Conflict, match="nothing new"):
        begin(parts)


def test_the_review_waits_without_a_worker_and_a_dropped_fix_is_not_learned(
    parts, caller, commands, classify_run
):
    images = corrected(caller, 6)
    caller.fix(photo(0, ".jpg"), "colour", "red")  # never sent: no fix
    number = begin(parts, base=str(classify_run.run))
    job = go_on(parts)
    assert (job.state, job.worker) == (REVIEW, None)
    assert RetrainWorker(parts.database, RetrainWork(parts)).claim() is None
    with parts.database.writes() as session:
        job = session.get(Job, number)
        items = next_items(session, number, None, 100)
        assert len(items) == 6
        assert all(each.told["value"] in CLASSES["colour"] for each in items)
        by_image = {each.sha256: each for each in items}
        dropped, renamed, cut, *kept = (by_image[sha256(image)] for image in images)
        decide(job, dropped, Decision("drop", "eva"), CLASSES)
        decide(job, renamed, Decision("relabel", "eva", value="blue"), CLASSES)
        decide(job, cut, Decision("crop", "eva", crop=(0.25, 0.0, 0.75, 0.5)), CLASSES)
        with pytest.raises(Conflict, match="has not ended"):
            finish(session, job, "eva", accept=False)
        for each in kept:
            decide(job, each, Decision("keep", "eva"), CLASSES)
        finish(session, job, "eva", accept=False)
        assert job.state == WAITING
    assert go_on(parts).state == DONE
    with parts.database.reads() as session:
        version = session.query(Dataset).one()
    rows = {each.picture: each for each in read_rows(parts.folder / version.folder / "rows.jsonl")}
    assert dropped.sha256 not in rows
    assert rows[renamed.sha256].labels == {"colour": "blue"}
    assert rows[kept[0].sha256].labels == {"colour": kept[0].value}
    if rows[cut.sha256].set == TRAIN:
        import cv2

        name = rows[cut.sha256].sha256
        file = parts.folder / "retraining/images" / name[:2] / name
        assert cv2.imread(str(file)).shape == (80, 80, 3)  # of 160 x 160


def kept_and_done(parts: Retraining, number: int, *, at_review: bool = False) -> bool:
    """Go on to the review, keep every fix, and go on to the end."""
    assert at_review or go_on(parts).state == REVIEW
    with parts.database.writes() as session:
        job = session.get(Job, number)
        assert job is not None
        for each in next_items(session, number, None, 100):
            decide(job, each, Decision("keep", "eva"), CLASSES)
        finish(session, job, "eva", accept=False)
    return go_on(parts).state == DONE


def test_fixes_that_are_undone_leave_the_next_version(parts, caller, commands, classify_run):
    images = corrected(caller, 5)
    assert kept_and_done(parts, begin(parts, base=str(classify_run.run)))
    gone = next(each["id"] for each in caller.history() if each["sha256"] == sha256(images[0]))
    caller.undo(gone)
    caller.classify(photo(30))
    caller.fix(photo(30), "shape", "bar")
    assert kept_and_done(parts, begin(parts))
    with parts.database.reads() as session:
        first, second = session.query(Dataset).order_by(Dataset.id).all()
    assert second.parent_id == first.id
    before, after = (
        {each.picture: each for each in read_rows(parts.folder / each.folder / "rows.jsonl")}
        for each in (first, second)
    )
    assert after.keys() - before.keys() == {sha256(photo(30))}
    assert before[sha256(images[0])].labels
    assert after[sha256(images[0])].labels == {}  # the base says nothing of it
    assert {name: each.set for name, each in before.items()}.items() <= {
        name: each.set for name, each in after.items()
    }.items()


def test_candidates_that_failed_are_trained_when_the_job_is_tried_again(
    parts, caller, commands, classify_run
):
    corrected(caller, 3)
    number = begin(parts, base=str(classify_run.run), review=False)
    commands.fails = True
    job = go_on(parts)
    assert (job.state, commands.ran.count("fit")) == (FAILED, 2)
    assert "the disk is full" in job.error
    commands.fails = False
    answer = caller.http.post(f"/v1/jobs/{number}/retry")
    assert answer.status_code == 202, answer.text
    job = go_on(parts)
    assert (job.state, job.error, commands.ran.count("fit")) == (DONE, "", 4)
    result = jobs.result_of(job)
    assert result is not None
    assert ["digest" in each for each in result["candidates"]] == [True, True]


def test_an_old_retraining_does_not_go_on_beside_or_after_another(
    parts, caller, commands, classify_run
):
    corrected(caller, 3)
    first = begin(parts, base=str(classify_run.run))
    assert go_on(parts).state == REVIEW
    caller.http.post(f"/v1/retraining/{first}/cancel", json={"who": "eva"})
    second = begin(parts, base=str(classify_run.run), review=False)
    answer = caller.http.post(f"/v1/jobs/{first}/retry")
    assert answer.status_code == 409
    assert f"retraining {second} is under way" in answer.json()["error"]["message"]
    assert go_on(parts).state == DONE
    answer = caller.http.post(f"/v1/jobs/{first}/retry")
    assert answer.status_code == 409
    assert answer.json()["error"]["remedy"].startswith("Start a new one")
    with parts.database.reads() as session:
        job = session.get(Job, first)
        assert job is not None
        assert job.state == FAILED


def test_a_fix_whose_image_is_missing_waits_for_the_next_retraining(
    parts, caller, commands, classify_run
):
    gone, late, kept = (sha256(image) for image in corrected(caller, 3))

    def hide(digest: str) -> Path:
        file = parts.images.path(digest)
        assert file is not None
        (parts.folder / digest).write_bytes(file.read_bytes())
        for each in (parts.folder / "images").rglob(digest):
            each.unlink()
        return file

    place = hide(gone)
    number = begin(parts, base=str(classify_run.run))
    assert go_on(parts).state == REVIEW
    hide(late)
    assert kept_and_done(parts, number, at_review=True)
    with parts.database.reads() as session:
        taken = {each.sha256: each.taken for each in session.query(ReviewItem)}
        texts = [event.text for event in events_of(session, number)]
        assert jobs.new_fixes(session) == 2
    assert taken == {late: False, kept: True}
    assert texts.count("1 fixes wait for a later retraining: their image files are missing") == 2
    (parts.folder / gone).replace(place)
    assert kept_and_done(parts, begin(parts))
    with parts.database.reads() as session:
        assert jobs.new_fixes(session) == 1
        last = session.query(Dataset).order_by(Dataset.id.desc()).first()
    rows = {each.picture for each in read_rows(parts.folder / last.folder / "rows.jsonl")}
    assert {gone, late, kept} & rows == {gone, kept}


def test_a_fix_that_is_undone_during_the_review_is_not_learned(
    parts, caller, commands, classify_run
):
    images = corrected(caller, 2)
    number = begin(parts, base=str(classify_run.run))
    assert go_on(parts).state == REVIEW
    gone = next(each["id"] for each in caller.history() if each["sha256"] == sha256(images[0]))
    caller.undo(gone)
    assert kept_and_done(parts, number, at_review=True)
    with parts.database.reads() as session:
        version = session.query(Dataset).one()
    rows = {each.picture for each in read_rows(parts.folder / version.folder / "rows.jsonl")}
    assert {sha256(image) for image in images} & rows == {sha256(images[1])}


def test_a_picture_that_joins_a_test_picture_is_not_trained_on(
    parts, caller, commands, classify_run, monkeypatch
):
    tested, trained = map(sha256, corrected(caller, 2))
    monkeypatch.setattr(dataset, "in_test_share", lambda key: key == tested)
    assert kept_and_done(parts, begin(parts, base=str(classify_run.run)))
    with parts.database.reads() as session:
        version = session.query(Dataset).one()
    rows = read_rows(parts.folder / version.folder / "rows.jsonl")
    before = {each.picture: each.set for each in rows if each.advertiser}
    assert before == {tested: TEST, trained: TRAIN}
    caller.classify(photo(40))
    caller.fix(photo(40), "shape", "bar")
    with parts.database.writes() as session:  # as if all three looked alike, by way of others
        first = session.get(StoredImage, tested)
        assert first is not None
        for digest in (trained, sha256(photo(40))):
            session.get(StoredImage, digest).picture_id = first.picture_id
    assert kept_and_done(parts, begin(parts))
    with parts.database.reads() as session:
        last = session.query(Dataset).order_by(Dataset.id.desc()).first()
    after = {each.picture: each for each in read_rows(parts.folder / last.folder / "rows.jsonl")}
    assert {trained, tested, sha256(photo(40))} & after.keys() == {tested}
    assert (after[tested].set, after[tested].labels["shape"]) == (TEST, "bar")


@pytest.mark.parametrize("change", ["another", "rolled back", "none"])
def test_a_retraining_promotes_only_what_was_compared_with_the_live_model(
    parts, caller, commands, classify_run, monkeypatch, change
):
    registry = parts.registry
    promoted = []

    def promote(model_id: int, who: str, expected: str) -> None:
        promoted.append((model_id, expected))
        promote_row(registry, model_id, who, expected)
        if change == "rolled back" and len(promoted) == 1:
            raise KilledError

    def judge(live, candidates, *given):
        if change == "another":  # after the evaluation
            commands._build(["", "--out", str(parts.folder / "other"), "--version", "other"])
            other = registry.add(parts.folder / "other/bundle")
            promote_row(registry, other.id, "eva", compared.digest)
        found = judge_candidates(live, candidates, *given)
        return replace(found, chosen=sorted(candidates)[0])

    monkeypatch.setattr(work, "judge_candidates", judge)
    parts = replace(parts, promote=promote)
    corrected(caller, 12)
    number = begin(parts, base=str(classify_run.run), review=False, promote=True)
    compared = registry.live("classify")
    assert compared is not None
    if change == "rolled back":
        with pytest.raises(KilledError):
            go_on(parts)
        with parts.database.reads() as session:
            back = session.scalars(select(Model).where(Model.digest == compared.digest)).one()
        live = registry.live("classify")
        commit(registry, back.id, live, Change(ROLLBACK, "eva"), force=True)
    job = go_on(parts)
    assert (job.state, job.error) == (DONE, "")
    result = jobs.result_of(job)
    assert result is not None
    now = registry.live("classify")
    assert now is not None
    with parts.database.reads() as session:
        last = events_of(session, number)[-1].text
    if change == "none":
        assert promoted == [(result["model_id"], compared.digest)]
        assert now.id == result["model_id"]
        assert f"model {now.id} answers now" in last
    elif change == "rolled back":
        assert len(promoted) == 1
        assert now.digest == compared.digest
        assert f"people decide: model {now.id} has replaced it" in last
    else:
        assert promoted == []
        assert now.id != result["model_id"]
        assert f"was compared with {compared.digest[:12]}, and model {now.id} answers" in last


def test_a_cancelled_retraining_ends_and_goes_on_when_it_is_tried_again(
    parts, caller, commands, classify_run
):
    corrected(caller, 3)
    number = begin(parts, base=str(classify_run.run))
    assert go_on(parts).state == REVIEW
    answer = caller.http.post(f"/v1/retraining/{number}/cancel", json={"who": "eva"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["error"]) == ("failed", "cancelled by eva")
    assert go_on(parts).state == FAILED
    with parts.database.writes() as session:
        job = session.get(Job, number)
        try_again(session, job, "eva")
    assert go_on(parts).state == REVIEW
    assert commands.ran == ["base", "check"]


def test_a_base_without_a_label_of_the_live_model_is_refused_with_a_remedy(
    parts, caller, commands, classify_run, tmp_path
):
    corrected(caller, 2)
    manifest = tmp_path / "base.csv"
    manifest.write_text("relative_im_path,shape\nimages/000.png,disc\n")
    begin(parts, base=str(manifest), images=str(classify_run.images))
    job = go_on(parts)
    assert job.state == FAILED
    assert "the base has no column 'colour'" in job.error


def test_the_calendar_starts_one_if_there_is_something_new(parts, caller):
    every = timedelta(days=7)
    assert add_if_due(parts.database, every, RetrainOptions()) is None
    corrected(caller, 1)
    number = add_if_due(parts.database, every, RetrainOptions())
    assert number is not None
    assert add_if_due(parts.database, every, RetrainOptions()) is None  # it is under way
    with parts.database.writes() as session:
        job = session.get(Job, number)
        assert job is not None
        job.state = DONE
    assert add_if_due(parts.database, every, RetrainOptions()) is None  # it was a moment ago
    with parts.database.writes() as session:
        job = session.get(Job, number)
        assert job is not None
        job.created_at = datetime.now(UTC) - timedelta(days=8)
    assert add_if_due(parts.database, every, RetrainOptions()) == number + 1


def test_only_what_is_new_starts_a_retraining_and_one_at_a_time(parts, caller):
    answer = caller.http.post("/v1/retraining", json={"who": "eva"})
    assert answer.status_code == 409
    assert "nothing new" in answer.json()["error"]["message"]
    corrected(caller, 2)
    assert caller.http.get("/v1/retraining").json() == {"last": None, "new_fixes": 2}
    answer = caller.http.post("/v1/retraining", json={"who": "eva"})
    assert (answer.status_code, answer.json()["stage"]) == (202, "collect")
    assert caller.http.post("/v1/retraining", json={"who": "eva"}).status_code == 409
    paths = {"base": "/etc", "who": "eva"}  # files of the server are for the command line
    assert caller.http.post("/v1/retraining", json=paths).status_code == 422


# --- decisions over HTTP -------------------------------------------------------------------------


@pytest.fixture
def queue(parts, caller) -> int:
    """A retraining in review, with two fixes of each of two advertisers about one picture each."""
    for advertiser, value in (("ada", "red"), ("bob", "blue")):
        caller.classify(photo(1), photo(2), advertiser=advertiser)
        for n, image in enumerate((photo(1), photo(2))):
            value = value if n == 0 else "green"
            caller.fix(image, "colour", value, advertiser=advertiser)
    number = begin(parts)
    with parts.database.writes() as session:
        from service.retraining.collect import collect

        assert collect(session, number, CLASSES, parts.images) == (4, 0)
        job = session.get(Job, number)
        assert job is not None
        job.state = REVIEW
    return number


def test_decisions_are_checked_kept_and_taken_back(caller, queue):
    path = f"/v1/retraining/{queue}/review"
    page = caller.http.get(path).json()
    assert (page["total"], page["undecided"], len(page["items"])) == (4, 4, 4)
    first = page["items"][0]["id"]

    def put(**body):
        return caller.http.put(f"{path}/{first}", json={"who": "eva", **body})

    assert put(decision="relabel", value="pink").status_code == 400
    assert put(decision="crop", crop=[0.5, 0.5, 0.51, 1]).status_code == 400
    assert put(decision="crop", crop=[0.5, 0.5, 1.1, 1]).status_code == 422
    assert put(decision="guess").status_code == 422
    assert put(decision="keep", who=None).status_code == 400
    answer = put(decision="relabel", value="green")
    assert (answer.status_code, answer.json()["relabelled"]) == (200, "green")
    assert put(decision="crop", crop=[0.1, 0.2, 0.9, 1]).json()["relabelled"] is None
    assert caller.http.get(path).json()["undecided"] == 3
    back = caller.http.post(f"{path}/{first}/undo").json()
    assert (back["decision"], back["crop"], back["who"]) == (None, None, "")
    assert caller.http.get(path).json()["undecided"] == 4
    end = f"/v1/retraining/{queue}/finish"
    assert caller.http.post(end, json={"who": "eva"}).status_code == 409
    assert caller.http.post(end, json={"who": "eva", "accept": True}).json()["state"] == "waiting"
    assert put(decision="keep").status_code == 409  # the review has ended
    image = caller.http.get(f"{path}/{first}/image")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/jpeg")


def key_of(parts: Retraining, advertiser: str | None) -> dict[str, str]:
    from service.access import keys
    from service.access.identity import Role

    with parts.database.writes() as session:
        _, key = keys.create_key(session, keys.NewKey("eva", advertiser, Role.ADMIN))
    return {"Authorization": f"Bearer {key}"}


def test_a_key_of_one_advertiser_sees_its_own_fixes_alone(parts, caller, queue):
    ada, everybody = key_of(parts, "ada"), key_of(parts, None)
    path = f"/v1/retraining/{queue}"
    mine = caller.http.get(f"{path}/review", headers=ada).json()
    assert (mine["total"], {each["advertiser"] for each in mine["items"]}) == (2, {"ada"})
    assert "bob" not in json.dumps(mine)
    every = caller.http.get(f"{path}/review", headers=everybody).json()["items"]
    other = next(each["id"] for each in every if each["advertiser"] == "bob")
    for answer in (
        caller.http.put(f"{path}/review/{other}", json={"decision": "keep"}, headers=ada),
        caller.http.post(f"{path}/review/{other}/undo", headers=ada),
        caller.http.get(f"{path}/review/{other}/image", headers=ada),
    ):
        assert answer.status_code == 404
    for place in ("", f"/{queue}/finish", f"/{queue}/cancel"):
        assert caller.http.post(f"/v1/retraining{place}", json={}, headers=ada).status_code == 403
    with parts.database.reads() as session:
        assert left_of(session, queue) == (4, 4)
        assert ItemAnswer.of(session.get(ReviewItem, other), None).advertiser == "bob"
    page = caller.http.get("/review", headers=ada)
    assert page.status_code == 200
    assert "bob" not in page.text


def test_a_broken_step_is_a_message_and_a_broken_process_an_error(tmp_path):
    log = tmp_path / "log"

    def run(*words: str) -> Ended:
        return run_command(words, log, share=Share(1), stopped=lambda: False)

    assert run("-c", "print('one'); print('two'); raise SystemExit(3)") == Ended(3, "one\ntwo")
    started = datetime.now(UTC)
    sleep = ("-c", "import time; time.sleep(60)")
    stopped = run_command(sleep, log, share=Share(1), stopped=lambda: True)
    assert stopped.code is None
    assert datetime.now(UTC) - started < timedelta(seconds=10)
    text = "import os; print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    assert run("-c", text).tail.endswith("19 True")
    normal = run_command(("-c", text), log, share=Share(1, idle=False), stopped=lambda: False)
    assert normal.tail.endswith("0 False")
