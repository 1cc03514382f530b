"""Restarts by torchrun: recognise them, and keep each attempt's keys apart in torchrun's store.

torchrun restarts all processes when one dies. Its restart count does not identify an attempt: each
machine counts for itself, and when a machine joins, leaves or restarts by itself, the others
restart without counting. Its store outlives the attempt, and torch (2.15) adds no prefix, so
restarted processes would read the addresses of dead ones. Therefore a run records which torchrun
agents launched it, and each attempt uses its own prefix.
"""

import json
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from augrank.files import write_json

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

LAUNCH_FILE = "launch.json"
POLL_INTERVAL_S = 0.02


def under_torchrun() -> bool:
    """Return whether torchrun started this process, and may restart it."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def agent_id() -> str | None:
    """Return an identifier of this machine's torchrun agent, unique to its launch.

    The agent creates a folder of random name for the errors of all processes that it starts. The
    job's id is not sufficient: the user may reuse that of an earlier launch. Neither is the parent
    process: it may be a shell in between.

    Returns:
        The same for every process of the agent, also after restarts; None without torchrun.
    """
    if not under_torchrun():
        return None
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE")  # FOLDER/attempt_0/0/error.json
    # Without a file (--log-dir /dev/null), only the parent process identifies the agent.
    agent = Path(errors).parents[2] if errors else f"process {os.getppid()}"
    return f"{socket.gethostname()} {agent}"


@dataclass(frozen=True)
class Launch:
    """The torchrun agents, one per machine, whose processes train together; none without torchrun.

    Machines may join and leave, and rank 0 may move: as long as one agent stays, it is the same
    launch.
    """

    agents: frozenset[str]

    @classmethod
    def from_ids(cls, agent_ids: Iterable[str | None]) -> "Launch":
        """Collect the result of ``agent_id`` of each process."""
        return cls(frozenset(name for name in agent_ids if name is not None))

    def is_restart(self, folder: Path) -> bool:
        """Return whether this launch was recorded in a run's folder before."""
        file = folder / LAUNCH_FILE
        return file.is_file() and not self.agents.isdisjoint(json.loads(file.read_text()))

    def record(self, folder: Path) -> None:
        """Write launch.json to a run's folder, which is removed when the run starts over."""
        if self.agents:
            write_json(folder / LAUNCH_FILE, sorted(self.agents))


def attempt_store(store: "Store", rank: int, size: int, timeout: timedelta) -> "Store":
    """Return a part of torchrun's store that only the processes of this attempt use.

    Nothing that all machines know identifies an attempt. So each process sends a request under a
    new random name, and rank 0 answers every name, including those of dead processes, until all
    processes of this attempt have arrived.

    Args:
        store: torchrun's, reachable by all processes.
        rank: of this process.
        size: number of processes.
        timeout: of rank 0; the other processes use that of the store.

    Raises:
        DistStoreError: a process did not arrive in time.
    """
    from torch.distributed import DistStoreError
    from torch.distributed.distributed_c10d import PrefixStore

    name = uuid4().hex
    if rank > 0:
        store.set(f"augrank/request/{rank}", name)
        prefix = store.get(f"augrank/answer/{name}").decode()
        part = PrefixStore(prefix, store)
        part.set(f"arrived/{rank}", "")
        return part
    part, missing = PrefixStore(name, store), set(range(1, size))
    deadline = time.monotonic() + timeout.total_seconds()
    while missing:
        if time.monotonic() > deadline:
            raise DistStoreError(f"timed out: process {min(missing)} did not arrive")
        for other in missing:
            if store.check([f"augrank/request/{other}"]):
                request = store.get(f"augrank/request/{other}").decode()
                store.set(f"augrank/answer/{request}", name)
        missing = {other for other in missing if not part.check([f"arrived/{other}"])}
        time.sleep(POLL_INTERVAL_S)
    return part
