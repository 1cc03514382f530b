"""Become another program at idle priority, which ends when the process that started it does.

    python idle.py PARENT COMMAND ...

Imports nothing of the package: it is run as a file, and is replaced by the command at once.
"""

import ctypes
import os
import sys
from contextlib import suppress

LEAST = 19  # niceness
PR_SET_PDEATHSIG, SIGKILL = 1, 9


def main() -> None:
    """Lower this process, tie it to its parent, and run the command in its place."""
    parent, *command = sys.argv[1:]
    with suppress(OSError):
        os.nice(LEAST)
    if hasattr(os, "SCHED_IDLE"):  # Linux: runs only where nothing else wants to
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() != int(parent):  # it has ended already
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
