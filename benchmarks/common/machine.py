"""The machine, threads and library versions of a measurement."""

import platform
from typing import Any

from augrank.bundle.load import library_versions
from augrank.resources import processor_name, usable_cores


def machine(threads: int) -> dict[str, Any]:
    """Describe this machine as plain data for results.json."""
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "threads": threads,
        "python": platform.python_version(),
        "libraries": library_versions(),
    }
