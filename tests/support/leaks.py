"""A pytest plugin: a test fails if a thread or a process that it started outlives it.

What a module's or session's fixture starts may live as long as the fixture, and so may what its
processes start, such as a browser's for a page. Processes are found even if their parent has ended:
they inherit an environment variable that names this test session.
"""

import gc
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

MARK = "PYTEST_LEAKS_SESSION"
# A machine under load ends processes late; it costs time only where something leaks.
GRACE_S, LATE_LOOKS = 120.0, 10
Leak = threading.Thread | psutil.Process


class LeakDetector:
    """The plugin, with the threads and processes it allows: earlier ones and those of fixtures."""

    def __init__(self) -> None:
        self._session = f"{os.getpid()}-{time.monotonic_ns()}"
        os.environ[MARK] = self._session
        self._before: set[Leak] = set()
        self._of_fixtures: dict[pytest.FixtureDef[Any], set[Leak]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        self._before = set(self._running())
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        before = set(self._running())
        try:
            return (yield)
        finally:
            started = set(self._running()) - before
            self._of_fixtures.setdefault(fixturedef, set()).update(started)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._of_fixtures.pop(fixturedef, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        yield
        leaked = self._after_grace()
        if leaked:
            told = "left behind: " + "; ".join(map(_described, leaked))
            for one in leaked:
                if isinstance(one, psutil.Process):
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            self._before.update(leaked)  # report each leak once
            pytest.fail(told, pytrace=False)

    def _after_grace(self) -> list[Leak]:
        deadline = time.monotonic() + GRACE_S
        collected, late = False, 0
        while leaked := self._leaked():
            late += time.monotonic() > deadline  # a stall may have taken all the time
            if late > LATE_LOOKS:
                return leaked
            if not collected:  # a pool's threads end with the pool, which a cycle may hold
                gc.collect()
                collected = True
            time.sleep(0.02)
        return []

    def _leaked(self) -> list[Leak]:
        allowed = self._before.union(*self._of_fixtures.values())
        return [
            one
            for one in self._running()
            if one not in allowed and allowed.isdisjoint(_ancestors(one))
        ]

    def _running(self) -> Iterator[Leak]:
        yield from (thread for thread in threading.enumerate() if thread.is_alive())
        for process in self._processes():
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.NoSuchProcess:
                continue

    def _processes(self) -> set[psutil.Process]:
        own = psutil.Process()
        found = set(own.children(recursive=True))
        mark = f"{MARK}={self._session}\0".encode()
        for pid in psutil.pids():
            try:
                if mark in Path(f"/proc/{pid}/environ").read_bytes():
                    found.add(psutil.Process(pid))
            except (OSError, psutil.NoSuchProcess):
                continue
        for_all_tests = _of_multiprocessing()
        return {p for p in found if p.pid != own.pid and p.pid not in for_all_tests}


def _ancestors(leak: Leak) -> list[psutil.Process]:
    if isinstance(leak, threading.Thread):
        return []
    try:
        return leak.parents()
    except psutil.NoSuchProcess:
        return []


def _of_multiprocessing() -> set[int | None]:
    """Return the standard library's helper processes, which end with the session.

    One forks the processes of ``tests.support.forked``, with their imports loaded; the other
    removes semaphores and shared memory of killed processes.
    """
    return {
        multiprocessing.forkserver._forkserver._forkserver_pid,
        multiprocessing.resource_tracker._resource_tracker._pid,
    }


def _described(leak: Leak) -> str:
    if isinstance(leak, threading.Thread):
        return f"thread {leak.name}{' (daemon)' if leak.daemon else ''}"
    try:
        return f"process {leak.pid}: {' '.join(leak.cmdline())[:200]}"
    except psutil.NoSuchProcess:
        return f"process {leak.pid}"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeakDetector(), "leak-detector")
