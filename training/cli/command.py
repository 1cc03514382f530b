"""Shared by all commands: a reporter, and messages for errors and interrupts."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from augrank.cli.command import command_errors
from augrank.cli.reporter import RichReporter
from training.distributed.rendezvous import under_torchrun


@contextmanager
def command_reporter(*, resumable: bool = False) -> Iterator[RichReporter]:
    """Yield a reporter; print errors and interrupts as short messages.

    Args:
        resumable: whether the same command resumes after an interrupt.
    """
    with command_errors(_resume_message if resumable else lambda: "Interrupted."):
        yield RichReporter()


def _resume_message() -> str:
    restart = "Unless torchrun restarts it, resume" if under_torchrun() else "Resume"
    return f"Interrupted. Completed work is kept. {restart} with: {_same_command()}"


def _same_command() -> str:
    """Return the command as it was typed, without --overwrite, which would start over."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return shlex.join(["torchrun", "...", "-m", "training", *words])
    return shlex.join(["python", "-m", "training", *words])
