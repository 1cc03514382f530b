"""The Python workers of a TorchServe on this machine, and the memory that they hold."""

import psutil


def worker_processes(server: int) -> list[psutil.Process]:
    """Return the processes that run handlers.

    Args:
        server: process id of TorchServe.
    """
    return [
        child
        for child in psutil.Process(server).children(recursive=True)
        if any("model_service_worker" in word for word in child.cmdline())
    ]


def private_mb(process: psutil.Process) -> float:
    """Return a process's own memory in MB: what would be free if it ended (USS)."""
    return float(process.memory_full_info().uss) / 1e6
