"""A retraining is a job that is killed, reviewed, cancelled, tried again, and promotes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from service.database.tables import Dataset, Job, Model, ReviewItem, StoredImage
from service.errors import Conflict
from service.jobs.queue import DONE, FAILED, REVIEW, WAITING, events_of
from service.models.evaluation import evaluation_path, read_evaluation
from service.models.promotion import commit
from service.models.registry import ROLLBACK, Change
from service.retraining import jobs, work
from service.retraining.data import dataset
from service.retraining.data.dataset import (
    TEST,
    TRAIN,
    read_rows,
)
from service.retraining.jobs import (
    RetrainWorker,
    try_again,
)
from service.retraining.process import Ended, Share, run_command
from service.retraining.promote import promote_row
from service.retraining.review import Decision, decide, finish, next_items
from service.retraining.verdict import judge_candidates
from service.retraining.work import RetrainWork
from tests.service.retraining.support import (
    CLASSES,
    KilledError,
    begin,
    corrected,
    go_on,
    kept_and_done,
)
from tests.service.support.pages import photo, sha256
from tests.support.patience import PATIENCE_S


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
    live, *rejected = sorted(parts.registry.models("classify"), key=lambda model: model.id)
    assert [model.state for model in rejected] == ["rejected"] * 2
    for model in (live, *rejected):  # the page shows them, and what each gets wrong
        assert read_evaluation(evaluation_path(parts.folder, model.digest))
    assert all("not better" in " ".join(model.gate["reasons"]) for model in rejected)
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


def test_a_broken_step_is_a_message_and_a_broken_process_an_error(tmp_path):
    log = tmp_path / "log"

    def run(*words: str) -> Ended:
        return run_command(words, log, share=Share(1), stopped=lambda: False)

    assert run("-c", "print('one'); print('two'); raise SystemExit(3)") == Ended(3, "one\ntwo")
    started = datetime.now(UTC)
    sleep = ("-c", "import time; time.sleep(3600)")
    stopped = run_command(sleep, log, share=Share(1), stopped=lambda: True)
    assert stopped.code is None
    assert datetime.now(UTC) - started < timedelta(seconds=PATIENCE_S)
    text = "import os; print(os.nice(0), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    assert run("-c", text).tail.endswith("19 True")
    normal = run_command(("-c", text), log, share=Share(1, idle=False), stopped=lambda: False)
    assert normal.tail.endswith("0 False")
