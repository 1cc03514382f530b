"""Threads follow the cores that others leave."""

import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

from training.common import threads
from training.common.threads import CHECK_S, SAY_S, CoreMeter, FreeThreads


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [1000.0]
    monkeypatch.setattr(threads.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    before = torch.get_num_threads()
    yield now
    torch.set_num_threads(before)


class PretendedMeter:
    def __init__(self, *others):
        self._others = list(others)

    def others(self):
        return self._others.pop(0)


def followed(clock, *others, most=4, fixed=False):
    """Return the number of threads after each check, and the lines that were said."""
    said: list[str] = []
    free = FreeThreads(most, said.append, fixed=fixed, meter=PretendedMeter(*others))
    counts = []
    for _ in others:
        clock[0] += CHECK_S
        free.follow()
        counts.append(free.count)
    return counts, said


def test_fewer_at_once_and_more_after_two_checks(clock):
    counts, said = followed(clock, 0.0, 1.2, 1.1, 0.3, 0.2, 0.0)
    assert counts == [4, 3, 3, 3, 4, 4]
    assert torch.get_num_threads() == 4
    assert said == ["Using 3 of 4 threads: other processes take 1.2 cores"]


def test_one_thread_is_always_left(clock):
    assert followed(clock, 9.0)[0] == [1]
    assert torch.get_num_threads() == 1


def test_a_change_is_said_once_a_minute(clock):
    said: list[str] = []
    free = FreeThreads(4, said.append, fixed=False, meter=PretendedMeter(2.0, 3.0, 2.0, 2.0))
    for wait in (CHECK_S, CHECK_S, SAY_S, CHECK_S):
        clock[0] += wait
        free.follow()
    assert said == [
        "Using 2 of 4 threads: other processes take 2.0 cores",
        "Using 2 of 4 threads: other processes take 2.0 cores",
    ]


def test_a_brief_pause_of_others_changes_nothing(clock):
    assert followed(clock, 1.0, 0.0, 1.0, 0.0, 1.0)[0] == [3, 3, 3, 3, 3]


@pytest.mark.parametrize("options", [{"fixed": True}, {"most": 1}])
def test_a_number_that_is_given_stays(clock, options):
    torch.set_num_threads(2)
    counts, said = followed(clock, 4.0, 4.0, **options)
    assert counts == [options.get("most", 4)] * 2
    assert (said, torch.get_num_threads()) == ([], 2)


def test_what_cannot_be_known_changes_nothing(clock):
    assert followed(clock, None, None)[0] == [4, 4]


def test_other_libraries_leave_the_same_cores(clock):
    free = FreeThreads(4, fixed=False, meter=PretendedMeter(1.0))
    clock[0] += CHECK_S
    assert (free.of(8), free.of(4), free.of(1)) == (7, 3, 1)  # 8: of a machine that is shared
    assert FreeThreads(4).of(8) == 8


def test_the_meter_counts_the_cores_that_are_allowed_and_not_its_own_time(
    tmp_path, monkeypatch, clock
):
    stat, own = tmp_path / "stat", [10.0]
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 2})
    monkeypatch.setattr(threads.time, "process_time", lambda: own[0])
    tick = os.sysconf("SC_CLK_TCK")

    def write(first, second, third):
        lines = [f"cpu{number} {busy * tick} 0 0 {500 * tick} {7 * tick} 0 0 0 99 0"
                 for number, busy in enumerate((first, second, third))]  # fmt: skip
        stat.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *lines, "intr 5 0 0", ""]))

    write(100, 100, 100)
    meter = CoreMeter(stat)
    clock[0] += 10
    own[0] += 4
    write(108, 110, 106)  # 14 seconds on the two allowed cores, four of them ours
    assert meter.others() == pytest.approx(1.0)
    assert meter.others() is None  # no time has passed
    clock[0] += 10
    own[0] += 30  # more than the kernel has counted yet
    assert meter.others() == 0.0
    assert CoreMeter(tmp_path / "none").others() is None


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def test_a_busy_process_is_seen(monkeypatch):
    monkeypatch.undo()
    cores = os.sched_getaffinity(0)
    core = {min(cores)}
    meter = CoreMeter()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(0, core)
        os.sched_setaffinity(busy.pid, core)
        meter.others()
        started, before_s = time.monotonic(), cpu_seconds(busy)
        while (used_s := cpu_seconds(busy) - before_s) < 1:  # it may get less than a core
            time.sleep(0.05)
        assert meter.others() * (time.monotonic() - started) > used_s / 2
    finally:
        os.sched_setaffinity(0, cores)
        busy.kill()
        busy.wait()
