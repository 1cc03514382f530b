"""The scheduler: hosts with a rate limit each, in virtual time so that times are exact."""

import asyncio
import itertools
import math
import time
from types import SimpleNamespace

import pytest

from augrank.download import scheduler
from augrank.download.scheduler import PendingUrl, RateLimitedQueue
from tests.support import virtual_time


@pytest.fixture(autouse=True)
def loop(monkeypatch):
    """The event loop whose clock the queue uses."""
    loop = virtual_time.VirtualLoop()
    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=loop.time))
    yield loop
    loop.close()


def at(seconds):
    return pytest.approx(seconds, abs=1e-3)


def order(loop, queue, *, workers=1):
    """Return (host, seconds since the start) of every URL, in the order of the queue."""

    async def run():
        start, found = loop.time(), []

        async def work():
            while (pending := await queue.next()) is not None:
                found.append((pending.url, loop.time() - start))
                queue.finish()

        await asyncio.gather(*(work() for _ in range(workers)))
        return found

    return virtual_time.run(loop, run())


def test_a_host_gets_no_more_requests_than_its_rate_limit(loop):
    queue = RateLimitedQueue(per_host=20)
    for number in range(5):
        queue.add(PendingUrl(f"a{number}", "a"))
    found = order(loop, queue, workers=4)
    assert [url for url, _ in found] == ["a0", "a1", "a2", "a3", "a4"]
    times = [moment for _, moment in found]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == [at(1 / 20)] * 4
    assert times[-1] == at(4 / 20)


def test_other_hosts_do_not_wait_for_one_that_does(loop):
    queue = RateLimitedQueue(per_host=10)
    for url in ("a0", "a1", "a2", "b0", "c0"):
        queue.add(PendingUrl(url, url[0]))
    found = order(loop, queue)
    assert [url for url, _ in found] == ["a0", "b0", "c0", "a1", "a2"]
    assert [moment for _, moment in found] == [at(0), at(0), at(0), at(0.1), at(0.2)]


def test_a_host_on_hold_is_left_alone(loop):
    queue = RateLimitedQueue(per_host=1000)
    queue.pause("a", 0.2)
    for url in ("a0", "b0"):
        queue.add(PendingUrl(url, url[0]))
    (first, first_at), (second, second_at) = order(loop, queue)
    assert (first, second) == ("b0", "a0")
    assert (first_at, second_at) == (at(0), at(0.2))


def test_retries_come_when_they_are_due_even_before_later_ones(loop):
    queue = RateLimitedQueue(per_host=1e6)
    for number in range(3):
        queue.add(PendingUrl(f"a{number}", "a"))

    async def run():
        for wait_s in (0.3, 0.1, 0.2):
            pending = await queue.next()
            queue.retry(pending, wait_s)
        found = []
        while (pending := await queue.next()) is not None:
            found.append((pending.url, loop.time()))
            queue.finish()
        return found

    assert virtual_time.run(loop, run()) == [("a1", at(0.1)), ("a2", at(0.2)), ("a0", at(0.3))]


def test_workers_wait_for_what_may_be_retried(loop):
    queue = RateLimitedQueue(per_host=1000)
    queue.add(PendingUrl("a0", "a"))

    async def run():
        first = await queue.next()
        idle = asyncio.create_task(queue.next())
        await asyncio.sleep(0.02)
        assert not idle.done()
        queue.retry(first, 0.0)
        assert await asyncio.wait_for(idle, 1) == first
        queue.finish()
        return await queue.next()

    assert virtual_time.run(loop, run()) is None


def test_a_redirect_waits_for_its_turn(loop):
    async def run():
        queue, start = RateLimitedQueue(per_host=20), loop.time()
        await asyncio.gather(*(queue.wait_for_host("a") for _ in range(4)))
        return loop.time() - start

    assert virtual_time.run(loop, run()) == at(3 / 20)


def test_closing_a_host_returns_its_pending_urls(loop):
    queue = RateLimitedQueue(per_host=1000)
    for url in ("a0", "b0", "a1"):
        queue.add(PendingUrl(url, url[0]))
    assert [pending.url for pending in queue.close("a")] == ["a0", "a1"]
    assert queue.is_closed("a")
    assert not queue.is_closed("b")
    queue.finish()
    queue.finish()
    assert [url for url, _ in order(loop, queue)] == ["b0"]


def test_failures_are_counted_in_a_row():
    queue = RateLimitedQueue(per_host=1)
    assert [queue.count_failure("a"), queue.count_failure("a")] == [1, 2]
    queue.reset_failures("a")
    assert queue.count_failure("a") == 1


def test_many_urls_of_one_host_stay_cheap(loop):
    queue = RateLimitedQueue(per_host=math.inf)
    for number in range(20_000):
        queue.add(PendingUrl(str(number), "a"))
    start = time.thread_time()
    assert len(order(loop, queue, workers=8)) == 20_000
    assert time.thread_time() - start < 60  # its own CPU time: a second
