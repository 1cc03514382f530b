"""Advertisers take turns: a large batch of a slow host does not keep the others waiting."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from service.answers.classify import ClassifyService
from service.backends.classify import ClassifyOptions
from service.batches.downloads import DownloadSettings
from service.batches.items import BATCH, add_batch, counts_of
from service.batches.work import BatchWork
from service.database.session import Database
from service.database.tables import Job, JobItem
from service.jobs import worker as workers
from service.jobs.queue import DONE, WAITING, add_job, events_of
from service.jobs.worker import JobWorker
from tests.service.support.fixed_model import FixedModel
from tests.service.support.pages import photo
from tests.support.patience import PATIENCE_S
from tests.training.download.site import LOOPBACK, Site, reply

FAST = DownloadSettings(per_host=500, backoff_s=0.02, timeout_s=PATIENCE_S, guard=LOOPBACK)
SLOW_S = 0.2  # until the slow host answers
PHOTOS = [photo(number) for number in range(4)]


@pytest.fixture(autouse=True)
def short_turns(monkeypatch):
    monkeypatch.setattr(workers, "TURN_S", 0.3)
    monkeypatch.setattr(workers, "LOOK_S", 0.05)
    monkeypatch.setattr(workers, "POLL_S", 0.05)


def slow(site: Site, path: str, data: bytes, wait: Callable[[], object] = lambda: None) -> str:
    def answer(handler, _):
        time.sleep(SLOW_S)
        wait()
        reply(handler, 200, data, Content_Type="image/png")

    return site.answer(path, answer)


def added(database: Database, advertiser: str, urls: list[str]) -> int:
    with database.writes() as session:
        return add_batch(session, advertiser, urls, ClassifyOptions(), {}).id


def state_of(database: Database, number: int) -> str:
    with database.reads() as session:
        return session.get(Job, number).state


def wait_until(database: Database, number: int, state: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while state_of(database, number) != state:
        assert time.monotonic() < deadline, state_of(database, number)
        time.sleep(0.02)


def test_a_small_batch_ends_before_the_large_one_of_a_slow_host(database: Database, site: Site):
    settings = replace(FAST, connections=2)
    small_is_there, looked = threading.Event(), threading.Event()

    def wait() -> None:
        """Keep the large batch from its end until the small one was added, and its end seen."""
        small_is_there.wait(PATIENCE_S)
        if state_of(database, small) == DONE:  # it may need two turns
            looked.wait(PATIENCE_S)

    urls = [slow(site, f"/slow{n}.png", PHOTOS[n % len(PHOTOS)], wait) for n in range(40)]
    large = added(database, "ada", urls)
    second = added(database, "ada", [slow(site, "/second.png", PHOTOS[0])])
    work = BatchWork(ClassifyService(database, FixedModel(0)), settings)
    worker = JobWorker(database, BATCH, work)
    worker.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not site.count("/slow0.png") and time.monotonic() < deadline:
            time.sleep(0.02)
        small = added(database, "bob", [site.answer("/small.png", PHOTOS[1])])
        small_is_there.set()
        wait_until(database, small, DONE)
        with database.reads() as session:
            answered, skipped = counts_of(session, large)
        assert skipped == 0
        assert 0 < answered < len(urls)  # and what it has is kept
        assert state_of(database, second) == WAITING  # who has waited longest is bob
        looked.set()
        wait_until(database, second, DONE)
    finally:
        small_is_there.set()
        looked.set()
        worker.stop()
    with database.reads() as session:
        assert counts_of(session, large) == (len(urls), 0)
        lines = [line.text for line in events_of(session, large)]
    assert lines == ["started: 40 URLs", "done: 40 answered, 0 skipped"]
    assert [site.count(f"/slow{n}.png") for n in range(len(urls))] == [1] * len(urls)


def test_a_batch_whose_last_url_ends_with_its_turn_is_done(database: Database, site: Site):
    number = added(database, "ada", [site.answer("/only.png", PHOTOS[0])])
    taken = JobWorker(database, BATCH, lambda claim: True).claim()
    assert taken is not None

    def over() -> bool:
        """Say that others wait as soon as there is an answer."""
        with database.reads() as session:
            return counts_of(session, number) != (0, 0)

    work = BatchWork(ClassifyService(database, FixedModel(0)), FAST)
    assert work(replace(taken, gives_way=over))
    with database.reads() as session:
        assert counts_of(session, number) == (1, 0)
        assert events_of(session, number)[-1].text == "done: 1 answered, 0 skipped"


def test_a_host_that_never_answers_is_tried_no_oftener_for_it(database: Database, site: Site):
    ended = threading.Event()

    def hangs(handler, _):
        ended.wait(PATIENCE_S)
        reply(handler, 500)

    settings = replace(FAST, connections=2, timeout_s=0.5)
    urls = [site.answer(f"/{n}.png", hangs) for n in range(6)]
    large = added(database, "ada", urls)
    others = [added(database, name, [site.root + "/gone.png"]) for name in ("bob", "cyd", "dan")]
    work = BatchWork(ClassifyService(database, FixedModel(0)), settings)
    worker = JobWorker(database, BATCH, work)
    worker.start()
    try:
        for number in (*others, large):
            wait_until(database, number, DONE)
    finally:
        worker.stop()
        ended.set()
    with database.reads() as session:
        assert counts_of(session, large) == (0, len(urls))
        errors = session.scalars(select(JobItem.error).where(JobItem.job_id == large)).all()
    assert [", 3 times:" in error["message"] for error in errors] == [True] * len(urls)
    # A try that gave up while it waited for its connection never reached the host.
    assert max(site.count(f"/{n}.png") for n in range(len(urls))) <= 3


def test_who_was_served_longest_ago_is_next(database: Database):
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    with database.writes() as session:
        jobs = [add_job(session, BATCH, name, {}, 1).id for name in ("a", "a", "b", "b", "c")]
        session.get(Job, jobs[0]).seen_at = long_ago  # a was served, the others were not
    worker = JobWorker(database, BATCH, lambda claim: True)
    order = []
    while (claim := worker.claim()) is not None:
        order.append(claim.job.id)
        worker._finish(claim, DONE)
    assert order == [jobs[2], jobs[4], jobs[0], jobs[3], jobs[1]]


def test_a_job_alone_goes_on_without_a_break(database: Database):
    with database.writes() as session:
        add_job(session, BATCH, "ada", {}, 1)
        add_job(session, BATCH, "ada", {}, 1)  # of the same advertiser: it waits its turn
        add_job(session, "other", "bob", {}, 1)  # for another worker
    claim = JobWorker(database, BATCH, lambda claim: True).claim()
    assert claim is not None
    time.sleep(0.4)
    assert not claim.gives_way()
    with database.writes() as session:
        add_job(session, BATCH, "bob", {}, 1)
    time.sleep(0.1)
    assert claim.gives_way()
