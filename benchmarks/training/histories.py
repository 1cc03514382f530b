"""Training on long histories: time and memory of ``fit`` by rows, over the same few images.

Rows of one image, augmentation and context differ only in what came of them, so that ten million
rows have no more different ones than the images, augmentations and contexts allow.
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from augrank.errors import ServerError
from augrank.images.augmentations import augmentation_set
from augrank.images.files import image_files
from augrank.reporting import Reporter
from benchmarks.common.markdown import render
from benchmarks.common.results import Results
from benchmarks.common.targets import PerformanceTarget, single

CATALOGUE = Path(__file__).parents[2] / "examples/catalogue"
FEW = 10_000  # rows, for what memory and time do not depend on rows
SIZE_PX, EPOCHS = 32, 1
TARGET = "conversion_rate"
POLL_S = 0.2
ERROR_CHARACTERS = 1500
TARGETS = {
    1_000_000: (
        PerformanceTarget("s", "1,000,000 rows, s", 60, 40, less_is_better=True, digits=0),
        PerformanceTarget(
            "gb",
            "1,000,000 rows, GB",
            1.5,
            1,
            "Most of it does not depend on the rows, as the line of ten thousand shows: PyTorch "
            "with its CUDA libraries, pandas, XGBoost and OpenVINO, and what they keep.",
            less_is_better=True,
            digits=2,
        ),
    ),
    10_000_000: (
        PerformanceTarget("gb", "10,000,000 rows, GB", 8, 4, less_is_better=True, digits=2),
    ),
}


@dataclass(frozen=True)
class HistoryRun:
    """One run of ``fit``, from the start of its process to its end."""

    asked: int  # rows; the history has a few more, as many of each candidate
    rows: int
    targets: int
    s: float
    gb: float  # peak of all its processes; memory that they share is counted once
    stages_s: dict[str, float]  # by report.json


def measure_histories(rows: Sequence[int], scratch: Path, reporter: Reporter) -> list[HistoryRun]:
    """Simulate a history of each length for the example catalogue, and train on it.

    First on FEW rows, unless ``rows`` starts with as few. On ``rows[0]`` twice: with one target, as
    on the others, and with all that it has.

    Args:
        rows: least number of rows of each.
        scratch: folder for the histories, which a next time finds, and for the run.
        reporter: says what is being measured.

    Raises:
        ServerError: a command failed.
    """
    candidates = len(image_files(CATALOGUE / "images").files) * len(augmentation_set("seed").names)
    runs = []
    for asked in [FEW, *rows] if rows[0] > FEW else rows:
        history = scratch / f"history-{asked}.csv"
        if history.exists():
            reporter.say(f"{history} is there already: remove it to simulate anew")
        else:
            reporter.say(f"simulating {asked:,} rows")
            _simulate(history, math.ceil(asked / candidates))
        reporter.say(f"training on {asked:,} rows, one target")
        runs.append(_fit(asked, history, scratch / "run", {"targets": TARGET}))
    reporter.say(f"training on {rows[0]:,} rows, all targets")
    history = scratch / f"history-{rows[0]}.csv"
    runs.append(_fit(rows[0], history, scratch / "run", {}))
    return runs


def history_results(runs: Sequence[HistoryRun]) -> dict[str, Any]:
    """Return the part of results.json that is measured."""
    return {"size": SIZE_PX, "epochs": EPOCHS, "runs": [asdict(each) for each in runs]}


def histories_section(results: Results) -> str:
    """Render the results of ``python -m benchmarks histories``."""
    return render("histories.md.j2", results, targets=history_rows(results))


def history_rows(results: Results) -> list[list[str]]:
    """Return the rows of the table of targets."""
    return [
        target.row(single(run[target.name]))
        for run in results["runs"]
        if run["targets"] == 1
        for target in TARGETS.get(run["asked"], ())
    ]


def _simulate(history: Path, sends: int) -> None:
    """Write a history, under its name only once it is whole."""
    unfinished = history.with_stem(f"{history.stem}-unfinished")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    catalogue = {"manifest": CATALOGUE / "manifest.csv", "sends": sends, "out": unfinished}
    _watched("simulate", catalogue)
    unfinished.rename(history)


def _fit(asked: int, history: Path, out: Path, given: Mapping[str, object]) -> HistoryRun:
    shutil.rmtree(out, ignore_errors=True)
    options = {"manifest": history, "images": CATALOGUE, "out": out, **given}
    started = time.perf_counter()
    gb = _watched("fit", {**options, "image-size": SIZE_PX, "epochs": EPOCHS})
    seconds = time.perf_counter() - started
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rows, targets = report["rows"]["manifest"], len(report["heads"])
    return HistoryRun(asked, rows, targets, seconds, gb, report["seconds"])


def _watched(command: str, options: Mapping[str, object]) -> float:
    """Run a command of ``training``; return the peak memory of its processes in GB.

    Raises:
        ServerError: the command failed.
    """
    words = [f"--{name}={value}" for name, value in options.items()]
    line = [sys.executable, "-m", "training", command, *words]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=errors)
        watched, peak = psutil.Process(process.pid), 0.0
        try:
            while process.poll() is None:
                peak = max(peak, _memory_gb(watched))
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            errors.seek(0)
            got = errors.read()[-ERROR_CHARACTERS:]
            raise ServerError(f"training {command} failed", got=got)
    if not peak:
        raise ServerError("the memory of a process could not be read", expected="/proc/PID/smaps")
    return peak


def _memory_gb(process: psutil.Process) -> float:
    """Return the memory of a process and of all below it: proportional set sizes."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += each.memory_full_info().pss
    return total / 1e9
