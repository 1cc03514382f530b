"""Batches of URLs: progress, what changed, what is skipped, and a worker that goes on."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from augrank.download.fetch import Unchanged, Validators
from augrank.images.decode import DecodeLimits
from service.answers.classify import ClassifyService
from service.backends.classify import ClassifyOptions
from service.batches.downloads import Downloads, DownloadSettings
from service.batches.items import BATCH, add_batch, counts_of
from service.batches.work import BatchWork
from service.database.session import Database
from service.database.tables import StoredAnswer
from service.errors import BackendFailed
from service.jobs.queue import job_of
from service.jobs.worker import GONE_AFTER, JobWorker
from tests.service.jobs.support import finished, serve
from tests.service.support.fixed_model import FixedModel
from tests.service.support.pages import Caller, photo, sha256
from tests.support.patience import PATIENCE_S
from tests.training.download.site import LOOPBACK, Site, reply

FAST = DownloadSettings(per_host=500, backoff_s=0.02, timeout_s=PATIENCE_S, guard=LOOPBACK)


def results(caller: Caller, number: int, advertiser: str = "ada", **query) -> list[dict]:
    path = f"/v1/batches/{number}/results"
    answer = caller.http.get(path, params={"advertiser": advertiser, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_batch_is_answered_and_what_cannot_be_had_is_listed(caller: Caller, site: Site):
    urls = [serve(site, f"/{n}.png", photo(n)) for n in range(3)]
    urls += [site.root + "/gone.png", site.answer("/text", b"hello"), "http://10.0.0.1/a.png"]
    urls += ["ftp://x/y.png", urls[0]]
    state = finished(caller, urls)
    assert (state["state"], state["total"]) == ("done", 7)  # one came twice
    assert (state["answered"], state["skipped"]) == (3, 4)
    items = results(caller, state["id"])
    assert [item["url"] for item in items] == urls[:7]
    for number in range(3):
        (direct,) = caller.classify(photo(number))
        assert items[number]["answer"]["labels"] == direct["labels"]
    reasons = [item["answer"]["error"]["message"] for item in items[3:]]
    assert "404" in reasons[0]
    assert "not an image" in reasons[1]
    assert all("could not be downloaded" in reason for reason in reasons)
    assert len(results(caller, state["id"], limit=2)) == 2


def test_what_has_not_changed_is_not_downloaded_again(caller: Caller, site: Site):
    urls = [serve(site, f"/{n}.png", photo(n)) for n in range(2)]
    finished(caller, urls)
    changed = serve(site, "/1.png", photo(5), etag='"2"')
    state = finished(caller, urls)
    assert state["answered"] == 2
    asked = [headers.get("If-None-Match") for headers in site.headers]
    assert asked == [None, None, '"1"', '"1"']
    items = results(caller, state["id"])
    (new,) = caller.classify(photo(5))
    assert (items[1]["url"], items[1]["answer"]["labels"]) == (changed, new["labels"])
    finished(caller, urls[:1], advertiser="bob")  # whose pointers are his own
    assert site.headers[-1].get("If-None-Match") is None


def test_a_fix_after_a_batch_is_in_its_results(caller: Caller, site: Site):
    image = photo(6)
    state = finished(caller, [serve(site, "/a.png", image)])
    value = results(caller, state["id"])[0]["answer"]["labels"]["colour"]["value"]
    right = "green" if value != "green" else "red"
    assert caller.fix(image, "colour", right).status_code == 201
    fixed = results(caller, state["id"])[0]["answer"]["labels"]["colour"]
    assert (fixed["value"], fixed["source"]) == (right, "fixed")


def test_connections_stay_open_from_one_group_of_urls_to_the_next(site: Site):
    ports = set()

    def unchanged(handler, _):
        ports.add(handler.client_address[1])
        reply(handler, 304)

    urls = [site.answer(f"/{n}.png", unchanged) for n in range(9)]
    outcomes = {}
    with Downloads(replace(FAST, connections=2), DecodeLimits()) as downloads:
        for some in (urls[:3], urls[3:6], urls[6:]):
            downloads(dict.fromkeys(some, Validators('"1"')), outcomes.__setitem__)
    assert [type(outcomes[url]) for url in urls] == [Unchanged] * 9
    assert 1 <= len(ports) <= 2


@pytest.mark.parametrize("late", [False, True])
def test_a_body_after_304_is_not_taken_for_the_next_answer(site: Site, late: bool):
    urls = [site.image(f"/{n}.png", n) for n in range(12)]
    images = dict(zip(urls, (site.answers[f"/{n}.png"] for n in range(12)), strict=True))

    def broken(image: bytes):
        def answer(handler, _):
            if "If-None-Match" not in handler.headers:
                reply(handler, 200, image)
                return
            head = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"
            parts = (head, b"hello") if late else (head + b"hello",)
            for part in parts:
                handler.wfile.write(part)

        return answer

    for number, url in enumerate(urls):
        site.answer(f"/{number}.png", broken(images[url]))
    outcomes = {}
    with Downloads(replace(FAST, connections=2), DecodeLimits()) as downloads:
        for some in (urls[:6], urls[6:]):
            downloads(dict.fromkeys(some, Validators('"1"')), outcomes.__setitem__)
    for url in urls:
        outcome = outcomes[url]
        if not late:
            assert outcome.data == images[url]  # the server was asked for it
        else:
            assert isinstance(outcome, Unchanged) or outcome.data == images[url]


def test_what_is_no_http_is_told_in_few_words(site: Site):
    def banner(handler, _):
        handler.wfile.write(b"SSH-2.0-secret\r\n\r\n")
        handler.close_connection = True

    outcomes = {}
    with Downloads(replace(FAST, backoff_s=0.0), DecodeLimits()) as downloads:
        downloads({site.answer("/a.png", banner): Validators()}, outcomes.__setitem__)
    (outcome,) = outcomes.values()
    assert "Bad status line, 3 times" in outcome.problem
    assert "secret" not in str(outcome)


def test_batches_of_others_are_not_there(caller: Caller, site: Site):
    state = finished(caller, [serve(site, "/a.png", photo(7))])
    path = f"/v1/batches/{state['id']}"
    for where in (path, f"{path}/results"):
        assert caller.http.get(where, params={"advertiser": "bob"}).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"urls": []}, 422, "urls"),
        ({"urls": ["x" * 3000]}, 422, "urls"),
        ({"configured": {"colour": "red"}}, 400, "no tag of this bundle"),
        ({"coverage": 1.5}, 422, "coverage"),
    ],
)
def test_bad_batches_are_refused(caller: Caller, body, status, words):
    given = {"advertiser": "ada", "urls": ["http://x.example/a.png"], **body}
    answer = caller.http.post("/v1/batches", json=given)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_a_job_of_a_worker_that_is_gone_goes_on_where_it_was(database: Database, site: Site):
    urls = [serve(site, f"/{n}.png", photo(n)) for n in range(6)]
    service = ClassifyService(database, FixedModel(0))
    with database.writes() as session:
        number = add_batch(session, "ada", urls, ClassifyOptions(), {}).id
    work = BatchWork(service, FAST)
    claim = JobWorker(database, BATCH, work).claim()
    assert claim is not None
    with Downloads(FAST, DecodeLimits()) as downloads:  # and then it is killed
        work._answer(claim, work._waiting(number)[:4], ClassifyOptions(), downloads)
    second = JobWorker(database, BATCH, BatchWork(service, FAST))
    assert second.claim() is None  # the first one was seen a moment ago
    with database.writes() as session:
        job_of(session, "ada", number).seen_at = (
            datetime.now(UTC) - GONE_AFTER - timedelta(seconds=1)
        )
    second.start()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with database.reads() as session:
            if job_of(session, "ada", number).state == "done":
                break
        time.sleep(0.05)
    second.stop()
    with database.reads() as session:
        assert counts_of(session, number) == (6, 0)
    assert [site.count(f"/{n}.png") for n in range(6)] == [1] * 6


def test_options_that_do_not_fit_are_refused_at_once(caller: Caller, site: Site):
    body = {"advertiser": "ada", "urls": [site.root], "review_kind": "Hat Review"}
    refused = caller.http.post("/v1/batches", json=body)
    assert refused.status_code == 400  # before anything is downloaded
    assert "Box Review" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ZeroDivisionError("secret"), "internal error; the log has it"),
        (BackendFailed("the model's server cannot answer"), "the model's server cannot answer"),
    ],
)
def test_a_batch_that_breaks_the_worker_is_given_up_and_others_go_on(
    caller: Caller, site: Site, monkeypatch, error: Exception, told: str
):
    service = caller.http.app.state.parts.classify
    ask = service.backend.classify

    def breaks(images, options):
        if options.top == 2:
            raise error
        return ask(images, options)

    monkeypatch.setattr(service.backend, "classify", breaks)
    monkeypatch.setattr("service.jobs.worker.POLL_S", 0.02)
    urls = [serve(site, "/a.png", photo(8))]
    state = finished(caller, urls, top=2)
    assert (state["state"], state["error"]) == ("failed", told)
    assert finished(caller, urls, advertiser="bob")["answered"] == 1


def test_a_host_that_wants_much_rest_is_left_and_odd_headers_do_no_harm(caller: Caller, site: Site):
    def busy(handler, _):
        reply(handler, 503, Retry_After="86400")

    def odd(handler, _):
        reply(handler, 200, photo(9), ETag="caf\u00e9", Content_Type="image/png")

    urls = [site.answer("/odd.png", odd)]
    for _ in range(2):  # the second time with what the first one said
        assert finished(caller, urls)["answered"] == 1
    state = finished(caller, [site.answer("/busy.png", busy)])
    assert (state["state"], state["skipped"]) == ("done", 1)
    (item,) = results(caller, state["id"])
    assert "86400 s of rest" in item["answer"]["error"]["message"]


def test_results_are_there_after_a_new_model_and_say_so_when_not(
    caller: Caller, site: Site, monkeypatch
):
    image = photo(10)
    state = finished(caller, [serve(site, "/a.png", image)])
    service = caller.http.app.state.parts.classify
    old = service.backend.model
    told = results(caller, state["id"])[0]["answer"]["labels"]["colour"]["value"]
    right = "green" if told != "green" else "red"
    caller.fix(image, "colour", right)
    monkeypatch.setattr(type(service.backend), "model", "e" * 64)
    answer = results(caller, state["id"])[0]["answer"]
    assert (answer["labels"]["colour"]["value"], answer["model_digest"]) == (right, old)
    with service.database.writes() as session:
        session.query(StoredAnswer).delete()
    answer = results(caller, state["id"])[0]["answer"]  # of the file, which is kept
    assert (answer["labels"]["colour"]["value"], answer["model_digest"]) == (right, "e" * 64)
    with service.database.writes() as session:
        session.query(StoredAnswer).delete()
    stored = caller.http.app.state.parts.images.path(sha256(image))
    assert "kept" in stored.parts  # since it was corrected
    stored.unlink()
    (stored.parents[2] / "seen" / stored.parent.name / stored.name).unlink()
    gone = results(caller, state["id"])[0]["answer"]["error"]
    assert (gone["code"], gone["status"]) == ("answer_expired", 410)
    again = finished(caller, [site.root + "/a.png"])  # downloaded again, since nothing is kept
    assert again["answered"] == 1
    assert site.count("/a.png") == 2


def test_a_worker_ends_at_once_although_a_download_hangs(database: Database, site: Site):
    release = threading.Event()

    def hangs(handler, _):
        release.wait()
        reply(handler, 404)

    service = ClassifyService(database, FixedModel(0))
    with database.writes() as session:
        url = site.answer("/slow.png", hangs)
        number = add_batch(session, "ada", [url], ClassifyOptions(), {}).id
    worker = JobWorker(database, BATCH, BatchWork(service, FAST))
    worker.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not site.count("/slow.png") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert site.count("/slow.png") == 1
        worker.stop()
        assert not worker._thread.is_alive()
        assert site.count("/slow.png") == 1  # which hangs still, and has time
    finally:
        release.set()
    with database.reads() as session:
        assert counts_of(session, number) == (0, 0)  # it is asked again
