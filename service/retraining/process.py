"""Run commands with the cores that the service leaves: training, export, and our own steps."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augrank.resources import usable_cores

CHILD = Path(__file__).with_name("child.py")
POLL_S, GRACE_S = 0.2, 10.0
TAIL_BYTES, LINE = 4000, 300  # of a log; characters of a line
Priority = Literal["idle", "normal"]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Ended:
    """How a command ended: ``code`` is None if it was stopped."""

    code: int | None
    tail: str  # last lines of its output


@dataclass(frozen=True)
class Share:
    """The share of the machine that commands get."""

    threads: int
    idle: bool = True  # only where nothing else wants to run

    @classmethod
    def of(cls, threads: int | None, priority: Priority) -> "Share":
        """Return a share: without a number of threads, one core is left to the service."""
        return cls(threads or max(1, usable_cores() - 1), priority == "idle")


def run_command(
    command: Sequence[str],
    log: Path,
    *,
    share: Share,
    stopped: Callable[[], bool],
    seen: Callable[[str], None] = lambda line: None,
) -> Ended:
    """Run a command until it ends, or is to be stopped.

    Args:
        command: arguments of Python: ``-m training fit ...``.
        log: gets its output.
        share: of the machine.
        stopped: whether to end it; asked often.
        seen: gets the last line of its output now and then.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | dict.fromkeys(THREADS, str(share.threads)) | {"NO_COLOR": "1"}
    priority = "idle" if share.idle else "normal"
    words = [sys.executable, str(CHILD), str(os.getpid()), priority, sys.executable, *command]
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
