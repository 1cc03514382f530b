"""A launch of torchrun: it starts processes, and starts them again where one has died.

Its own count of restarts does not tell the two apart: each machine counts for itself, and where a
machine comes, goes or starts again by itself, the others start again without counting. So the run
notes who launched it, and processes that meet hold what they say apart from what the dead said.
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

NOTE = "launch.json"
LOOKS_EVERY_S = 0.02


def under_torchrun() -> bool:
    """Whether torchrun has started this process, and may start it again."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def agent() -> str | None:
    """torchrun's own process on this machine, by a name that no other launch has.

    It makes a folder of a random name for the errors of all that it starts. The job's id may be
    given by the user, and be that of the launch before; the parent may be a shell in between.

    Returns:
        The same for each process it starts, again too; None without torchrun.
    """
    if not under_torchrun():
        return None
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE")  # FOLDER/attempt_0/0/error.json
    own = Path(errors).parents[2] if errors else f"process {os.getppid()}"  # --log-dir /dev/null
    return f"{socket.gethostname()} {own}"


@dataclass(frozen=True)
class Launch:
    """The torchruns, one a machine, whose processes train together; none without torchrun.

    Machines come and go, and another may lead: as long as one torchrun has been there before, it
    is the same launch.
    """

    agents: frozenset[str]

    @classmethod
    def of(cls, agents: Iterable[str | None]) -> "Launch":
        """From what ``agent`` gives in each process."""
        return cls(frozenset(name for name in agents if name is not None))

    def has_begun(self, folder: Path) -> bool:
        """Whether it was noted in a run's folder: its processes have been started again."""
        file = folder / NOTE
        return file.is_file() and not self.agents.isdisjoint(json.loads(file.read_text()))

    def note(self, folder: Path) -> None:
        """In a run's folder, which goes where the run is started anew."""
        if self.agents:
            write_json(folder / NOTE, sorted(self.agents))


def own_part(store: "Store", rank: int, size: int, patience: timedelta) -> "Store":
    """A part of torchrun's store for the processes of this start alone.

    The store outlives them: started again, they would read at which addresses the dead listened.
    Nothing that all machines know tells one start from another, so each process asks under a name
    it has just made up, and the leader answers whoever has asked, a dead one in vain, until all
    have come.

    Args:
        store: reached by all.
        rank: of this process.
        size: how many there are.
        patience: of the leader; that of the others is the store's.

    Raises:
        DistStoreError: one does not come.
    """
    from torch.distributed import DistStoreError
    from torch.distributed.distributed_c10d import PrefixStore

    name = uuid4().hex
    if rank > 0:
        store.set(f"augrank/asks/{rank}", name)
        part = PrefixStore(store.get(f"augrank/answer/{name}").decode(), store)
        part.set(f"came/{rank}", "")
        return part
    part, away = PrefixStore(name, store), set(range(1, size))
    until = time.monotonic() + patience.total_seconds()
    while away:
        if time.monotonic() > until:
            raise DistStoreError(f"timed out: process {min(away)} has not come")
        for other in away:
            if store.check([f"augrank/asks/{other}"]):
                asks = store.get(f"augrank/asks/{other}").decode()
                store.set(f"augrank/answer/{asks}", name)
        away = {other for other in away if not part.check([f"came/{other}"])}
        time.sleep(LOOKS_EVERY_S)
    return part
