"""Train, but wait once to be killed or interrupted, however late the test is to do so.

    python -m tests.support.held_training COMMAND OPTIONS

The options are those of ``python -m training``. The process whose line begins with $HOLD_AFTER
creates the file $HELD and waits, unless that file is there: a second process trains to the end.
"""

import os
import time
from pathlib import Path

from augrank.cli.reporter import RichReporter
from training.cli.app import main

MODULE = "tests.support.held_training"


def environment(held: Path, hold_after: str = "Epoch   1/") -> dict[str, str]:
    """Return the environment of a training that is held.

    Args:
        held: is created by the process that waits.
        hold_after: the beginning of a line that it prints before.
    """
    return {**os.environ, "HELD": str(held), "HOLD_AFTER": hold_after}


def _hold() -> None:
    say, held, hold_after = RichReporter.say, Path(os.environ["HELD"]), os.environ["HOLD_AFTER"]

    def say_and_wait(reporter, text, **options):
        say(reporter, text, **options)
        if text.startswith(hold_after) and not held.exists():
            held.touch()
            while True:
                time.sleep(1)

    RichReporter.say = say_and_wait


if __name__ == "__main__":
    _hold()
    main()
