"""How many cores this process may use, and how workers share them."""

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cgroup_file: Path = _CGROUP_V2) -> int:
    """Cores allowed by affinity and by the container's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = cgroup_file.read_text(encoding="ascii").split()
        limit = math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        limit = math.inf
    return max(1, min(cores or 1, math.ceil(limit) if limit != math.inf else cores or 1))


def threads_per_worker(workers: int, cores: int | None = None) -> int:
    """Intra-op threads so that workers x threads does not exceed the cores, at least 1."""
    return max(1, (cores or usable_cores()) // max(1, workers))
