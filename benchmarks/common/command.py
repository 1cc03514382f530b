"""The command line that was typed, for results.json and messages."""

import shlex
import sys


def command_line() -> str:
    """Return the command that runs this benchmark again."""
    return "python -m benchmarks " + shlex.join(sys.argv[1:])
