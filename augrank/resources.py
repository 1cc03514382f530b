"""How many cores and how much memory this process may use."""

import contextlib
import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_MEMORY, _MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")
_UNKNOWN_MEMORY = 8 * 1024**3


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


def available_memory(cgroup: Path = _CGROUP_MEMORY, meminfo: Path = _MEMINFO) -> int:
    """Bytes that this process may still take, by the machine and by the container's limit."""
    free = math.inf
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = meminfo.read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(x for x in lines if x.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max" is no number
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        free = min(free, limit - used + _dropped_when_needed(cgroup))
    return int(free) if free != math.inf else _UNKNOWN_MEMORY


def _dropped_when_needed(cgroup: Path) -> int:
    """Bytes of files that the kernel keeps in a container's memory as long as there is room."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
        return int(next(x for x in lines if x.startswith("inactive_file ")).split()[1])
    return 0
