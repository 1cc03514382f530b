import asyncio
import itertools
import time

from training.download.scheduler import PendingUrl, RateLimitedQueue


def order(queue, *, workers=1):
    """Host and seconds since the start of every URL, in the order of the queue."""

    async def run():
        start, found = time.monotonic(), []

        async def work():
            while (pending := await queue.next()) is not None:
                found.append((pending.url, time.monotonic() - start))
                queue.finish()

        await asyncio.gather(*(work() for _ in range(workers)))
        return found

    return asyncio.run(run())


def test_a_host_is_pending_no_faster_than_its_rate():
    queue = RateLimitedQueue(per_host=20)
    for number in range(5):
        queue.add(PendingUrl(f"a{number}", "a"))
    found = order(queue, workers=4)
    assert [url for url, _ in found] == ["a0", "a1", "a2", "a3", "a4"]
    times = [at for _, at in found]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps) > 0.045
    assert times[-1] < 0.5


def test_other_hosts_do_not_wait_for_one_that_does():
    queue = RateLimitedQueue(per_host=10)
    for url in ("a0", "a1", "a2", "b0", "c0"):
        queue.add(PendingUrl(url, url[0]))
    found = order(queue)
    assert [url for url, _ in found] == ["a0", "b0", "c0", "a1", "a2"]
    assert found[2][1] < 0.05


def test_a_host_on_hold_is_left_alone():
    queue = RateLimitedQueue(per_host=1000)
    queue.pause("a", 0.2)
    for url in ("a0", "b0"):
        queue.add(PendingUrl(url, url[0]))
    (first, first_at), (second, second_at) = order(queue)
    assert (first, second) == ("b0", "a0")
    assert first_at < 0.1 <= 0.19 < second_at


def test_retries_come_when_they_are_due_even_before_later_ones():
    queue = RateLimitedQueue(per_host=1000)
    for number in range(3):
        queue.add(PendingUrl(f"a{number}", "a"))

    async def run():
        for wait_s in (0.3, 0.1, 0.2):
            pending = await queue.next()
            queue.retry(pending, wait_s)
        found = []
        while (pending := await queue.next()) is not None:
            found.append(pending.url)
            queue.finish()
        return found

    assert asyncio.run(run()) == ["a1", "a2", "a0"]


def test_workers_wait_for_what_may_be_pending_again():
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

    assert asyncio.run(run()) is None


def test_a_redirect_waits_for_its_turn():
    async def run():
        queue, start = RateLimitedQueue(per_host=20), time.monotonic()
        await asyncio.gather(*(queue.wait_for_host("a") for _ in range(4)))
        return time.monotonic() - start

    assert 0.145 < asyncio.run(run()) < 0.5


def test_a_closed_host_gives_back_what_waited():
    queue = RateLimitedQueue(per_host=1000)
    for url in ("a0", "b0", "a1"):
        queue.add(PendingUrl(url, url[0]))
    assert [pending.url for pending in queue.close("a")] == ["a0", "a1"]
    assert queue.is_closed("a")
    assert not queue.is_closed("b")
    queue.finish()
    queue.finish()
    assert [url for url, _ in order(queue)] == ["b0"]


def test_failures_are_counted_in_a_row():
    queue = RateLimitedQueue(per_host=1)
    assert [queue.count_failure("a"), queue.count_failure("a")] == [1, 2]
    queue.reset_failures("a")
    assert queue.count_failure("a") == 1


def test_many_urls_of_one_host_stay_cheap():
    queue = RateLimitedQueue(per_host=1e9)
    for number in range(20_000):
        queue.add(PendingUrl(str(number), "a"))
    start = time.monotonic()
    assert len(order(queue, workers=8)) == 20_000
    assert time.monotonic() - start < 5
