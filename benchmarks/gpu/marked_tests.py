"""The row ``tests``: the project's tests that need a GPU."""

import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from augrank.errors import ServerError
from benchmarks.gpu.config import REPOSITORY, Figures, NotPossibleHere, RowContext

MARK = "@pytest.mark.gpu"
RESERVE_S = 15.0  # of the limit: to stop pytest, which then writes what it has seen
LAST_LINES = 4  # of a failed test's message
OUTPUT_CHARACTERS = 300


def measure_tests(context: RowContext) -> Figures:
    """Run ``pytest -m gpu`` on the files that have such tests; the others import far more.

    Raises:
        NotPossibleHere: this is no clone of the repository, but an installed copy without tests.
        ServerError: pytest ran no test.
    """
    files = marked_files(REPOSITORY / "tests")[: context.config.test_files]
    if not files:
        raise NotPossibleHere("there is no folder tests with tests for GPUs: use a clone")
    report = context.scratch / "tests.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    command += ["--basetemp", str(context.scratch / "pytest"), "--junitxml", str(report)]
    output, finished = _run([*command, *map(str, files)], context.limit_s - RESERVE_S)
    if not report.exists():
        raise ServerError("pytest ran no test", got=output[-OUTPUT_CHARACTERS:])
    figures = read_report(report)
    if not finished:
        figures["summary"] += f"; stopped after {context.limit_s - RESERVE_S:.0f} s"
    return figures


def marked_files(tests: Path) -> list[Path]:
    """Return the files below a folder that have tests for GPUs, sorted."""
    files = tests.rglob("test_*.py")
    return sorted(file for file in files if MARK in file.read_text(encoding="utf-8").splitlines())


def read_report(report: Path) -> Figures:
    """Return the figures of a report in JUnit's format.

    A test that was interrupted is there without a name, and counts for nothing.

    Raises:
        ServerError: it has no test.
    """
    cases = [case for case in ElementTree.parse(report).iter("testcase") if case.get("name")]
    if not cases:
        raise ServerError("pytest ran no test", expected="tests with the mark gpu", got="none")
    failures = {}
    skipped = 0
    for case in cases:
        fault = case.find("failure")
        if fault is None:
            fault = case.find("error")
        if fault is not None:
            failures[f"{case.get('classname')}::{case.get('name')}"] = _last_lines(fault)
        elif case.find("skipped") is not None:
            skipped += 1
    passed = len(cases) - len(failures) - skipped
    return {
        "passed": passed,
        "failed": len(failures),
        "skipped": skipped,
        "failures": failures,
        "summary": f"{passed} passed, {len(failures)} failed, {skipped} skipped",
    }


def _last_lines(fault: ElementTree.Element) -> str:
    lines = [line for line in (fault.text or "").splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:]) or fault.get("message", "")


def _run(command: list[str], limit_s: float) -> tuple[str, bool]:
    """Run a command; return what it printed, and whether it ended within the limit."""
    with subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            return process.communicate(timeout=max(1.0, limit_s))[0], True
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=RESERVE_S / 2)[0], False
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0], False
