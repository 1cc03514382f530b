"""The machine, threads and library versions of a measurement."""

import platform
from pathlib import Path
from typing import Any

from augrank.bundle.load import library_versions
from augrank.resources import usable_cores


def machine(threads: int) -> dict[str, Any]:
    """Describe this machine as plain data for results.json."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": threads,
        "python": platform.python_version(),
        "libraries": library_versions(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
