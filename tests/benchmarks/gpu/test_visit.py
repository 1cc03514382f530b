"""Rows of a visit: each in its own process, within its time, whatever becomes of the others."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from augrank.files import read_json
from benchmarks.common.resume import PartialResults
from benchmarks.gpu import process
from benchmarks.gpu.config import QUICK, NotPossibleHere, RowContext
from benchmarks.gpu.visit import Row, RowResult, Visit, limit_of
from tests.support.messages import Messages
from tests.support.patience import PATIENCE_S


def succeed(context: RowContext):
    with (context.scratch / "runs").open("a") as file:
        file.write("x")
    return {"summary": "done", "earlier": sorted(context.earlier), "device": context.config.device,
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}  # fmt: skip


def fail(context: RowContext):
    print("this is not for standard output")
    raise ValueError("CUDA error: an illegal memory access was encountered")


def crash(context: RowContext):
    os.kill(os.getpid(), signal.SIGSEGV)


def decline(context: RowContext):
    raise NotPossibleHere("TensorRT's libraries are not installed")


def hang(context: RowContext):
    """Start a process that ends on no signal but SIGKILL, and wait without end."""
    ignoring = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", ignoring])
    try:
        (context.scratch / "child").write_text(str(child.pid))
        time.sleep(2 * PATIENCE_S)
    finally:
        (context.scratch / "unwound").touch()


class Visits:
    """Runs visits on one folder, during which the clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.messages = folder, Messages()
        self.saved: list[list[RowResult]] = []
        self.conditions = {"gpu": "H200"}

    def run(self, rows, *, seconds: float = 100.0, only=None) -> dict[str, RowResult]:
        parts = PartialResults(self.folder / "measured.json", self.conditions, self.messages)
        visit = Visit(
            replace(QUICK, device="cpu"),
            self.folder,
            seconds,
            parts,
            self.messages,
            lambda results: self.saved.append([*results]),
            only,
            clock=lambda: 0.0,
        )
        return {result.name: result for result in visit.run(rows)}


@pytest.fixture
def visits(tmp_path, monkeypatch):
    """Visits whose rows may take as long as they do: their limits are only shown."""
    monkeypatch.setattr(process, "ends_within", lambda ours, _limit_s: ours.poll(PATIENCE_S))
    monkeypatch.setattr(process, "UNWIND_S", PATIENCE_S)
    return Visits(tmp_path)


def wait_until(happened) -> None:
    """Wait for a condition, which must become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_failed_row_does_not_stop_the_others(visits, capfd):
    results = visits.run(
        [
            Row("first", succeed, 1, 1),
            Row("fails", fail, 1, 1),
            Row("crashes", crash, 1, 1),
            Row("declines", decline, 1, 1),
            Row("last", succeed, 1, 1),
        ]
    )
    assert [results[name].state for name in results] == [
        "measured", "failed", "failed", "left out", "measured"
    ]  # fmt: skip
    assert results["fails"].reason == (
        "ValueError: CUDA error: an illegal memory access was encountered"
    )
    assert results["crashes"].reason == "its process ended with signal SIGSEGV"
    assert results["declines"].reason == "TensorRT's libraries are not installed"
    assert results["last"].figures == {
        "summary": "done", "earlier": ["first"], "device": "cpu", "gpus": ""
    }  # fmt: skip
    states = [[result.state for result in saved].count("left out") for saved in visits.saved]
    assert states == [5, 4, 3, 2, 2, 1]  # one more after each row
    assert {result.reason for result in visits.saved[0]} == {"the visit ended before it"}
    captured = capfd.readouterr()
    assert "this is not for standard output" in captured.err
    assert captured.out == ""


def test_a_row_without_time_is_left_out_and_says_so(visits):
    results = visits.run([Row("long", succeed, 9, 500), Row("short", succeed, 1, 5)])
    assert results["long"].state == "left out"
    assert results["long"].reason == "needs 500 s, and 100 s are left"
    assert results["short"].state == "measured"
    assert "long is left out: needs 500 s, and 100 s are left" in visits.messages.texts


def test_a_row_that_hangs_is_stopped_with_all_it_started(visits, monkeypatch):
    """Its time is over when it has started its process."""
    child, limits = visits.folder / "child", []

    def ends_within(ours, limit_s: float) -> bool:
        limits.append(limit_s)
        if len(limits) > 1:
            return ours.poll(PATIENCE_S)
        wait_until(lambda: child.exists() and child.read_text())
        return False

    monkeypatch.setattr(process, "ends_within", ends_within)
    results = visits.run([Row("hangs", hang, 1, 1), Row("next", succeed, 1, 1)], seconds=16)
    assert limits == [8, 16]
    assert results["hangs"].state == "failed"
    assert results["hangs"].reason == "stopped after its 8 s"
    assert (visits.folder / "unwound").exists()
    wait_until(lambda: is_gone(int(child.read_text())))
    assert results["next"].state == "measured"


def test_a_row_is_waited_for_as_long_as_its_limit():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    assert not process.ends_within(ours, 0.01)
    theirs.send("an outcome")
    assert process.ends_within(ours, PATIENCE_S)
    theirs.close()
    ours.close()


def test_a_second_call_measures_only_what_is_missing(visits):
    first = visits.run([Row("works", succeed, 1, 1), Row("fails", fail, 1, 1)])
    assert first["fails"].state == "failed"
    assert list(read_json(visits.folder / "measured.json")["parts"]) == ["works"]
    runs = visits.folder / "runs"
    some = [Row("works", succeed, 1, 1), Row("fails", fail, 1, 1)]
    left = visits.run(some, only=["nothing"])
    assert left["works"] == first["works"]
    assert left["fails"].reason == "not one of --rows"
    second = visits.run([Row("works", succeed, 1, 1), Row("fails", succeed, 1, 1)])
    assert runs.read_text() == "xx"
    assert second["works"] == first["works"]
    assert second["fails"].figures["earlier"] == ["works"]
    assert "works: already measured before the interrupt" in visits.messages.texts
    other = Row("works", succeed, 1, 1, subject="dist/other")
    visits.run([other])
    assert runs.read_text() == "xxx"
    visits.conditions = {"gpu": "H100"}
    visits.run([other])
    assert runs.read_text() == "xxxx"


def test_time_is_shared_and_what_is_not_used_passes_on():
    rows = [Row("a", succeed, 3, 10), Row("b", succeed, 1, 40), Row("c", succeed, 1, 10)]
    assert limit_of(rows[0], rows, 100) == 60
    assert limit_of(rows[1], rows[1:], 96) == 48
    assert limit_of(rows[1], rows[1:], 60) == 40  # its share of 30 s is too little
    assert limit_of(rows[2], rows[2:], 20) == 20
