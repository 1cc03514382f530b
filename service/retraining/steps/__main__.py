"""``python -m service.retraining.steps STEP FOLDER``: a step of a job, in a process of its own."""

import importlib
import sys
from pathlib import Path

from augrank.errors import AugrankError

STEPS = ("base", "check", "evaluate")


def main() -> None:
    """Run the step; say in one line what is wrong if it cannot be done."""
    step, folder = sys.argv[1:]
    if step not in STEPS:
        raise SystemExit(f"expected {', '.join(STEPS)}, got {step}")
    try:
        importlib.import_module(f"service.retraining.steps.{step}").run(Path(folder))
    except AugrankError as error:
        print(error, flush=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
