"""The cores and the memory that this process may use."""

import contextlib
import ctypes
import gc
import math
import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_INT8_FLAGS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_MEMORY, _MEMINFO = Path("/sys/fs/cgroup"), Path("/proc/meminfo")
_UNKNOWN_MEMORY = 8 * 1024**3


def usable_cores(cgroup_file: Path = _CGROUP_V2) -> int:
    """Return the cores allowed by affinity and by the container's CPU quota, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = cgroup_file.read_text(encoding="ascii").split()
        limit = math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        limit = math.inf
    return max(1, min(cores or 1, math.ceil(limit) if limit != math.inf else cores or 1))


def processor_name() -> str:
    """Return the model of the CPU."""
    with contextlib.suppress(OSError):
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def int8_instructions() -> tuple[str, ...]:
    """Return the CPU's instructions for products of int8, which round as no other do."""
    with contextlib.suppress(OSError):
        words = set(_CPUINFO.read_text(encoding="utf-8").split())
        return tuple(sorted(words & _INT8_FLAGS))
    return ()


def threads_per_worker(workers: int, cores: int | None = None) -> int:
    """Return the intra-op threads per worker that fit the cores, at least 1."""
    return max(1, (cores or usable_cores()) // max(1, workers))


def release_memory() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc)."""
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Do the same in a few milliseconds, without what only the garbage collector frees."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def available_memory(cgroup: Path = _CGROUP_MEMORY, meminfo: Path = _MEMINFO) -> int:
    """Return the bytes that this process can still allocate, by machine and container."""
    free = math.inf
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = meminfo.read_text(encoding="ascii").splitlines()
        free = 1024 * int(next(x for x in lines if x.startswith("MemAvailable")).split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max" is not a number
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        free = min(free, limit - used + _reclaimable(cgroup))
    return int(free) if free != math.inf else _UNKNOWN_MEMORY


def _reclaimable(cgroup: Path) -> int:
    """Return the bytes of cached files, which the kernel frees when memory is needed."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
        return int(next(x for x in lines if x.startswith("inactive_file ")).split()[1])
    return 0
