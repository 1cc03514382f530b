"""The polling loop: query AWS repeatedly, show progress, give up after a time limit.

boto3's waiters are not used: they cannot report progress between requests, their errors omit AWS's
reason, and none exist for tuning jobs and asynchronous answers.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from augrank.aws.client import AwsError
from augrank.reporting import ShowStatus, no_progress

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pending:
    """The state of an unfinished operation, for display: ``shop: Creating``."""

    text: str


def poll(
    check: Callable[[], Result | Pending],
    *,
    interval_s: float,
    timeout_s: float = math.inf,
    progress: ShowStatus = no_progress,
) -> Result:
    """Call ``check`` until it returns a result.

    Args:
        check: returns Pending while there is no result; raises if there will be none.
        interval_s: pause between two calls.
        timeout_s: total waiting time.
        progress: receives the pending state and the time waited, such as ``shop: Creating, 2:05``.

    Raises:
        AwsError: there is no result within the time limit.
    """
    started = time.monotonic()
    while True:
        result = check()
        if not isinstance(result, Pending):
            return result
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise AwsError(f"{result.text}: not finished after {_duration(timeout_s)}")
        minutes, seconds = divmod(int(waited_s), 60)
        progress(f"{result.text}, {minutes}:{seconds:02d}")
        time.sleep(interval_s)


def _duration(seconds: float) -> str:
    """``2 min`` or ``0.2 s``."""
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:g} s"
