"""Rows of a visit: each in its own process, within its time, whatever becomes of the others."""

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
from benchmarks.gpu.config import QUICK, NotPossibleHere, RowContext
from benchmarks.gpu.visit import Row, RowResult, Visit, limit_of
from tests.support.messages import Messages


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
    (context.scratch / "child").write_text(str(child.pid))
    try:
        time.sleep(600)
    finally:
        (context.scratch / "unwound").touch()


class Visits:
    """Runs visits on one folder."""

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
        )
        return {result.name: result for result in visit.run(rows)}


@pytest.fixture
def visits(tmp_path):
    return Visits(tmp_path)


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


def test_a_row_that_hangs_is_stopped_with_all_it_started(visits):
    start = time.monotonic()
    results = visits.run([Row("hangs", hang, 1, 1), Row("next", succeed, 1, 1)], seconds=16)
    assert time.monotonic() - start < 40
    assert results["hangs"].state == "failed"
    assert results["hangs"].reason == "stopped after its 8 s"
    assert (visits.folder / "unwound").exists()
    child = int((visits.folder / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
    assert results["next"].state == "measured"


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
