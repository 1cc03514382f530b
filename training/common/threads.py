"""Threads that follow the cores which other processes leave.

Threads of one computation wait for each other. If another process takes a core from one of them,
all of them wait for it: two threads beside a busy process can be slower than one alone. So the
number of torch's threads follows the cores that others leave; what they take is read from the
kernel's accounting, not tried out.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from augrank.resources import usable_cores

CHECK_S = 2.0
SAY_S = 60.0  # at most one line in this time
_STAT = Path("/proc/stat")
_IDLE = slice(3, 5)  # idle and waiting for a disk, in a line of /proc/stat
_ACCOUNTED = slice(0, 8)  # the rest counts guests again


class CoreMeter:
    """Measures how many of the cores that this process may use are used by other processes."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._before = self._now()

    def others(self) -> float | None:
        """Return the cores that others used since the last call; None if it cannot be known."""
        before, now = self._before, self._now()
        self._before = now
        if before is None or now is None or now[0] <= before[0]:
            return None
        seconds, busy, own = (b - a for a, b in zip(before, now, strict=True))
        return max(0.0, (busy - own) / seconds)

    def _now(self) -> tuple[float, float, float] | None:
        """Return a time, and the seconds that all processes and this one have used until then."""
        try:
            allowed = os.sched_getaffinity(0)
            lines = self._stat.read_text(encoding="ascii").splitlines()
            tick = os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError):  # another system than Linux
            return None
        busy = 0
        for line in lines:
            name, *values = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in allowed:
                ticks = [int(value) for value in values[_ACCOUNTED]]
                busy += sum(ticks) - sum(ticks[_IDLE])
        return time.monotonic(), busy / tick, time.process_time()


class FreeThreads:
    """The number of torch's threads, which follows the cores that are free.

    Args:
        most: the number of threads on a machine of one's own.
        say: receives a line when the number changes, at most once a minute.
        fixed: keep ``most``, as the user wants it.
        meter: measures what other processes take.
    """

    def __init__(
        self,
        most: int = 1,
        say: Callable[[str], None] = lambda _: None,
        *,
        fixed: bool = True,
        meter: CoreMeter | None = None,
    ) -> None:
        self._most, self._say, self._fixed = most, say, fixed or most == 1
        self._meter = meter or CoreMeter()
        self.count = most
        self._free = 0  # cores, at the last check
        self._next_check = time.monotonic() + CHECK_S
        self._next_line = -SAY_S

    def follow(self) -> None:
        """Measure again, if the last time is some seconds ago, and set torch's threads."""
        if self._fixed or time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_S
        others = self._meter.others()
        if others is None:
            return
        before, self._free = self._free, max(1, round(usable_cores() - others))
        # Fewer at once; more if cores were free at the last check too.
        wanted = min(self._most, self._free if self._free < self.count else min(before, self._free))
        if wanted not in (0, self.count):
            self.count = wanted
            import torch  # which whoever follows has loaded; a finished run is told without

            torch.set_num_threads(wanted)
            self._announce(others)

    def of(self, most: int) -> int:
        """Return how many of ``most`` threads a library other than torch should use now."""
        self.follow()
        return most if self._fixed else max(1, min(most, most - self._most + self.count))

    def _announce(self, others: float) -> None:
        if (now := time.monotonic()) < self._next_line:
            return
        self._next_line = now + SAY_S
        text = f"Using {self.count} of {self._most} threads"
        if self.count < self._most:
            text += f": other processes take {others:.1f} cores"
        self._say(text)
