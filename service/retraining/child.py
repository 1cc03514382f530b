"""Become another program at a lower priority, which ends when the process that started it does.

    python child.py PARENT idle|normal COMMAND ...

Imports nothing of the package: it is run as a file, and is replaced by the command at once.
"""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

LEAST = 19  # niceness
PR_SET_PDEATHSIG, SIGKILL = 1, 9


def main() -> None:
    """Lower this process, tie it to its parent, and run the command in its place."""
    parent, priority, *command = sys.argv[1:]
    if priority == "idle":
        _be_idle()
    if hasattr(os, "SCHED_IDLE"):  # Linux
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != int(parent):  # it has ended already
            sys.exit(1)
    os.execv(command[0], command)


def _be_idle() -> None:
    """Run only where nothing else wants to, as far as the system can."""
    with suppress(OSError):
        os.nice(LEAST)
    # Linux shares cores between sessions first, whatever their processes' priorities are.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LEAST), encoding="ascii")
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    main()
