"""Run commands with the cores that the service leaves: training, export, and our own steps."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from augrank.resources import usable_cores

IDLE = Path(__file__).with_name("idle.py")
POLL_S, GRACE_S = 0.2, 10.0
TAIL_BYTES, LINE = 4000, 300  # of a log; characters of a line
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``code`` is None if it was stopped."""

    code: int | None
    tail: str  # last lines of its output


def spare_threads(wanted: int | None = None) -> int:
    """Return how many threads a command gets: one core is left to the service."""
    return wanted or max(1, usable_cores() - 1)


def run_idle(
    command: Sequence[str],
    log: Path,
    *,
    threads: int,
    stopped: Callable[[], bool],
    seen: Callable[[str], None] = lambda line: None,
) -> Ended:
    """Run a command at idle priority until it ends, or is to be stopped.

    Args:
        command: arguments of Python: ``-m training fit ...``.
        log: gets its output.
        threads: of its libraries.
        stopped: whether to end it; asked often.
        seen: gets the last line of its output now and then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | dict.fromkeys(THREADS, str(threads)) | {"NO_COLOR": "1"}
    words = [sys.executable, str(IDLE), str(os.getpid()), sys.executable, *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    try:
        line = ""
        while (code := process.poll()) is None:
            if stopped():
                return Ended(None, tail_of(log))
            if (last := tail_of(log).rpartition("\n")[2]) != line:
                line = last
                seen(line)
            time.sleep(POLL_S)
        return Ended(code, tail_of(log))
    finally:
        _end(process)


def tail_of(log: Path, lines: int = 5) -> str:
    """Return the last lines of a log that are not blank."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace").replace("\r", "\n")
    except FileNotFoundError:
        return ""
    found = [line.strip()[:LINE] for line in text.splitlines() if line.strip()]
    return "\n".join(found[-lines:])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command and what it started."""
    if process.poll() is not None:
        return
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        try:
            os.killpg(process.pid, number)
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            process.wait(wait_s)
        return
