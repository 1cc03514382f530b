"""The pages of jobs: the newest lines of a long log, and what there is to do about a retraining."""

import html
import re

import pytest

from service.access.identity import Role
from service.database.session import Database
from service.database.tables import Job
from service.jobs.queue import DONE, EVERYBODY, FAILED, REVIEW, RUNNING, WAITING, add_job, note
from service.pages.jobs import LINES
from service.retraining.jobs import RETRAIN, STAGES, RetrainOptions
from tests.service.support.keyed import client_of, keyed_app, make_key


@pytest.fixture
def app(database: Database, tmp_path):
    return keyed_app(database, tmp_path)


@pytest.fixture
def client(app):
    return client_of(app)


def retraining(database: Database, state: str, stage: str) -> int:
    options = {"given": RetrainOptions().model_dump(), "stage": stage}
    with database.writes() as session:
        job = add_job(session, RETRAIN, EVERYBODY, options, len(STAGES))
        job.state = state
        return job.id


def lines_of(text: str) -> list[str]:
    return re.findall(r"<li><time[^>]*>[^<]*</time> ([^<]*)</li>", text)


def link(text: str, words: str) -> str:
    return html.unescape(re.search(rf'href="([^"]*)">{words}</a>', text)[1])


def test_the_newest_lines_of_a_long_log_are_shown_and_older_ones_are_a_page_away(client, database):
    with database.writes() as session:
        number = add_job(session, "other", EVERYBODY, {}, 0).id
        other = add_job(session, "other", EVERYBODY, {}, 0).id
        for count in range(2 * LINES + 5):
            note(session, number, f"line {count}")
            note(session, other, "of another")
    text = client.get(f"/jobs/{number}").text
    assert lines_of(text) == [f"line {count}" for count in range(LINES + 5, 2 * LINES + 5)]
    assert "The newest lines" not in text
    text = client.get(link(text, "Older lines")).text
    assert lines_of(text) == [f"line {count}" for count in range(5, LINES + 5)]
    text = client.get(link(text, "Older lines")).text
    assert lines_of(text) == [f"line {count}" for count in range(5)]
    assert "Older lines" not in text
    assert link(text, "The newest lines") == f"/jobs/{number}#log"
    assert "There are no older lines" in client.get(f"/jobs/{number}?before=1").text


@pytest.mark.parametrize(
    ("state", "stage", "told"),
    [
        (RUNNING, "train", "5 of 8: train"),
        (REVIEW, "review", "3 of 8: review"),
        (FAILED, "evaluate", "6 of 8: evaluate"),
        (DONE, "end", "8 of 8</span>"),
    ],
)
def test_the_progress_of_a_retraining_is_told(client, database, state, stage, told):
    number = retraining(database, state, stage)
    assert client.get(f"/v1/jobs/{number}").json()["job"]["stage"] == stage
    for address in ("/jobs", f"/jobs/{number}"):
        assert told in " ".join(client.get(address).text.split())


def test_jobs_that_wait_for_people_are_a_filter_and_lead_to_the_review(client, database):
    number = retraining(database, REVIEW, "review")
    retraining(database, DONE, "end")
    text = client.get("/jobs").text
    assert '<option value="waiting_for_review">waiting for review</option>' in text
    text = client.get("/jobs", params={"state": REVIEW}).text
    assert re.findall(r'<th scope="row"><a href="/jobs/(\d+)">', text) == [str(number)]
    assert f'href="/review" aria-label="Review job {number}"' in text
    assert 'href="/review" aria' not in client.get("/jobs", params={"state": DONE}).text


@pytest.mark.parametrize("state", [WAITING, RUNNING, REVIEW])
def test_a_retraining_is_cancelled_on_its_page_and_can_be_tried_again(client, database, state):
    number = retraining(database, state, "review")
    cancel = f"/jobs/{number}/cancel"
    assert f'action="{cancel}"' in client.get("/jobs").text
    done = client.post(cancel)
    assert (done.status_code, done.headers["Location"]) == (303, f"/jobs/{number}")
    with database.reads() as session:
        job = session.get_one(Job, number)
        assert (job.state, job.error) == (FAILED, "cancelled by somebody")
    text = client.get(f"/jobs/{number}").text
    assert cancel not in text
    assert f'action="/jobs/{number}/retry"' in text
    assert client.post(cancel).status_code == 409


def test_who_may_not_decide_for_all_sees_no_button(app, database):
    number = retraining(database, REVIEW, "review")
    everybody = client_of(app, make_key(database, "eva", None, Role.ADMIN))
    assert f"/jobs/{number}/cancel" in everybody.get(f"/jobs/{number}").text
    reader = client_of(app, make_key(database, "ben", None, Role.CORRECT))
    text = reader.get(f"/jobs/{number}").text
    assert "/cancel" not in text
    assert 'href="/review"' not in text
    assert reader.post(f"/jobs/{number}/cancel").status_code == 403
    own = client_of(app, make_key(database, "ada", "ada", Role.ADMIN))
    assert own.post(f"/jobs/{number}/cancel").status_code == 403
    everybody.post(f"/jobs/{number}/cancel")
    assert "cancelled by eva" in everybody.get(f"/jobs/{number}").text
