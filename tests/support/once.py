"""What is costly to make, made once for all workers of a run of the suite."""

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import pytest

Made = TypeVar("Made")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """Return what ``make`` makes in a new folder; the first worker that asks has it made.

    The others wait for it and read its result, which is pickled. Nobody may change the folder.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    result = root / f"{name}.pickle"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            shutil.rmtree(root / name, ignore_errors=True)
            (root / name).mkdir()
            made = make(root / name)
            result.write_bytes(pickle.dumps(made))
    return cast(Made, pickle.loads(result.read_bytes()))
