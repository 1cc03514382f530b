"""Calls that cannot be cancelled, on threads that end by themselves."""

import threading

import pytest

from augrank.download.threads import UnjoinedThreads
from tests.support.patience import PATIENCE_S


def test_calls_return_and_raise():
    threads = UnjoinedThreads("some", 2, daemon=True)
    found = [threads.submit(divmod, 7, number) for number in (2, 0, 3)]
    assert found[0].result(PATIENCE_S) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        found[1].result(PATIENCE_S)
    assert found[2].result(PATIENCE_S) == (2, 1)


def test_no_more_threads_than_allowed_and_what_is_cancelled_is_not_called():
    threads, release, called = UnjoinedThreads("bounded", 2, daemon=True), threading.Event(), []

    def call(number: int) -> None:
        called.append(number)
        release.wait(PATIENCE_S)

    try:
        found = [threads.submit(call, number) for number in range(6)]
        running = [each for each in threading.enumerate() if each.name == "bounded"]
        assert len(running) == 2
        assert all(each.daemon for each in running)
        assert [each.cancel() for each in found[3:]] == [True] * 3
    finally:
        release.set()
    for each in found[:3]:
        each.result(PATIENCE_S)
    for each in running:
        each.join(PATIENCE_S)
        assert not each.is_alive()
    assert sorted(called) == [0, 1, 2]
    assert threads.submit(len, "more").result(PATIENCE_S) == 4
