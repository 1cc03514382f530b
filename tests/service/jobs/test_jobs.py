"""Jobs are seen by those whose they are, with their progress and log, and can be tried again."""

import time

from service.batches.items import BATCH
from service.jobs.queue import EVERYBODY, FAILED, add_job, job_of, note
from service.jobs.worker import JobWorker
from tests.service.jobs.support import finished, serve
from tests.service.support.pages import Caller, photo
from tests.support.patience import PATIENCE_S
from tests.training.download.site import Site


def ended(caller: Caller, number: int) -> dict:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = caller.http.get(f"/v1/jobs/{number}").json()
        if found["job"]["state"] in ("done", "failed"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_a_batch_says_what_it_did(caller: Caller, site: Site):
    urls = [serve(site, f"/{n}.png", photo(n)) for n in range(2)]
    urls += [f"{site.root}/gone{n}.png" for n in range(3)] + ["ftp://x/y.png"]
    number = finished(caller, urls)["id"]
    found = caller.http.get(f"/v1/jobs/{number}").json()
    assert (found["job"]["kind"], found["job"]["total"]) == ("batch", 6)
    assert (found["job"]["answered"], found["job"]["skipped"]) == (2, 4)
    lines = [line["text"] for line in found["lines"]]
    assert lines[0] == "started: 6 URLs"
    assert lines[1].startswith("skipped 3: the image could not be downloaded")
    assert "404" in lines[1]
    assert lines[2].startswith("skipped 1:")
    assert lines[-1] == "done: 2 answered, 4 skipped"
    later = caller.http.get(f"/v1/jobs/{number}", params={"after": found["lines"][-2]["id"]})
    assert [line["text"] for line in later.json()["lines"]] == lines[-1:]
    page = caller.http.get(f"/jobs/{number}").text
    assert "done: 2 answered, 4 skipped" in page
    assert f"/v1/batches/{number}/results?advertiser=ada" in page
    assert 'data-running="0"' in page


def test_jobs_are_listed_the_last_ones_first(caller: Caller):
    with caller.http.app.state.parts.database.writes() as session:
        ids = [add_job(session, "other", advertiser, {}, 0).id for advertiser in "abab"]
        add_job(session, "other", EVERYBODY, {}, 0)
    rows = caller.http.get("/v1/jobs", params={"advertiser": "a"}).json()["jobs"]
    assert [row["id"] for row in rows] == [ids[2], ids[0]]
    assert (rows[0]["answered"], rows[0]["state"]) == (None, "waiting")
    first = caller.http.get("/v1/jobs", params={"limit": 3}).json()
    rest = caller.http.get("/v1/jobs", params={"before_id": first["next_before_id"]}).json()
    assert [row["advertiser"] for row in first["jobs"] + rest["jobs"]] == ["", *"baba"]
    assert rest["next_before_id"] is None
    text = caller.http.get("/jobs", params={"state": "done"}).text
    assert "There are no such jobs" in text


def test_a_job_that_failed_goes_on_where_it_was(caller: Caller, site: Site):
    urls = [serve(site, "/a.png", photo(1))]
    number = finished(caller, urls)["id"]
    refused = caller.http.post(f"/v1/jobs/{number}/retry")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    database = caller.http.app.state.parts.database
    with database.writes() as session:
        job = job_of(session, "ada", number)
        job.state, job.error = FAILED, "<b>broken</b>"
        note(session, number, "it broke")
    page = caller.http.get("/jobs").text
    assert "&lt;b&gt;broken&lt;/b&gt;" in page
    assert f'action="/jobs/{number}/retry"' in page
    answer = caller.http.post(f"/jobs/{number}/retry", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{number}")
    found = ended(caller, number)
    assert (found["job"]["state"], found["job"]["error"], found["job"]["answered"]) == (
        "done", "", 1,
    )  # fmt: skip
    texts = [line["text"] for line in found["lines"]]
    assert texts.index("it broke") + 1 == texts.index("tried again")
    assert "taken up again: 0 of 1 URLs are left" in texts
    assert site.count("/a.png") == 1


def test_a_job_that_is_not_there_is_a_message(caller: Caller):
    for path in ("/v1/jobs/99", "/jobs/99"):
        assert caller.http.get(path).status_code == 404
    assert caller.http.post("/v1/jobs/99/retry").status_code == 404
    assert "curl" in caller.http.get("/jobs").text


def test_lines_are_not_written_twice_after_a_crash(caller: Caller, site: Site):
    number = finished(caller, [serve(site, "/a.png", photo(2))])["id"]
    parts = caller.http.app.state.parts
    parts.workers[BATCH].stop()
    work = parts.workers[BATCH]._work
    for _ in range(2):  # it is done each time, and the process ends before that is written
        with parts.database.writes() as session:
            job_of(session, "ada", number).state = "waiting"
        claim = JobWorker(parts.database, BATCH, work).claim()
        assert claim is not None
        work._note(claim, lambda session, job: ["done: 1 answered, 0 skipped"])
    texts = [line["text"] for line in caller.http.get(f"/v1/jobs/{number}").json()["lines"]]
    assert texts.count("done: 1 answered, 0 skipped") == 1
