"""What starts a retraining, and what is refused before one begins."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from augrank.errors import DataError
from service.database.tables import Job, Model
from service.errors import Conflict
from service.jobs.queue import DONE, FAILED
from service.retraining.jobs import (
    RetrainOptions,
    add_if_due,
    add_retraining,
)
from service.retraining.steps.base import read_base
from tests.service.retraining.support import begin, corrected, go_on


def test_without_a_classifier_or_with_a_wrong_base_it_does_not_even_start(parts, tmp_path):
    with parts.database.writes() as session:
        live = session.scalar(select(Model).where(Model.state == "live"))
        live.state = "retired"
        session.flush()
        with pytest.raises(Conflict, match="no classifier to compare with"):
            add_retraining(session, RetrainOptions(base="runs/cars"), "eva")
    wrong = tmp_path / "notes.md"
    wrong.write_text("# no manifest\n")
    with pytest.raises(DataError):
        read_base(str(wrong), None, ["colour"], [])
    table = tmp_path / "manifest.csv"
    table.write_text("relative_im_path,shape\na.png,bar\n")
    with pytest.raises(DataError, match="no column 'colour', which the live model answers"):
        read_base(str(table), None, ["colour"], [])


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
