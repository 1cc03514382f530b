"""Several processes that train one network: torchrun starts them, this file joins them.

    torchrun --standalone --nproc-per-node 2 --max-restarts 3 -m training fit --manifest M --out RUN

Every process makes its share of each batch, and gradients are averaged; the first process, the
leader, alone writes files and speaks. Without torchrun there is one process, and nothing here costs
anything. Where a process dies the others end too; torchrun starts all of them again, and they go on
after the last whole epoch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError
from training.distributed.rendezvous import own_part

if TYPE_CHECKING:
    import torch.distributed
    from torch import nn

Value = TypeVar("Value")
# Others wait while the leader decodes images; for each other, and for gradients while the leader
# writes a checkpoint, not as long: one that is stopped, or lost its power, says nothing.
PATIENCE, PATIENCE_IN_TRAINING = timedelta(hours=12), timedelta(minutes=15)
LOST = (
    "closed",
    "reset by peer",
    "timed out",
    "timeout",
    "remote process",
    "refused",
    "broken pipe",
)


@dataclass(frozen=True)
class Team:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine
    local_size: int = 1
    on_gpus: bool = False

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    @property
    def leads_machine(self) -> bool:
        """Whether this process does what is done once a machine, such as decoding."""
        return self.local_rank == 0

    def threads(self, of_machine: int) -> int:
        """This process's share of a machine's threads."""
        return max(1, of_machine // self.local_size)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def share(self, count: int) -> NDArray[np.int64]:
        """This process's part of rows 0 to count: contiguous, as even as can be."""
        return np.array_split(np.arange(count), self.size)[self.rank]

    def same_buffers(self, module: "nn.Module") -> None:
        """The leader's running statistics, in every process."""
        if self.size > 1:
            import torch.distributed

            for buffer in module.buffers():
                values = buffer.cpu()
                torch.distributed.broadcast(values, src=0)
                buffer.copy_(values)

    def for_gradients(self) -> "torch.distributed.ProcessGroup | None":
        """All processes, over NCCL on GPUs, with less patience; None where there is one."""
        if self.size == 1:
            return None
        import torch.distributed

        backend = "nccl" if self.on_gpus else "gloo"
        group: Any = torch.distributed.new_group(backend=backend, timeout=PATIENCE_IN_TRAINING)
        return cast("torch.distributed.ProcessGroup", group)

    def leave(self, group: "torch.distributed.ProcessGroup | None") -> None:
        """All processes at once, which NCCL asks for."""
        if group is not None:
            import torch.distributed

            torch.distributed.destroy_process_group(group)

    def of_all(self, own: Value) -> list[Value]:
        """What each process has, in every process, by rank."""
        if self.size == 1:
            return [own]
        import torch.distributed

        all_have: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(all_have, own)
        return all_have

    def check_same(self, what: str, own: str) -> None:
        """Hold what each process has against the leader's.

        Args:
            what: for the message.
            own: of this process.

        Raises:
            DataError: in all processes, where one differs.
        """
        all_have = self.of_all(own)
        differ = [str(rank) for rank, has in enumerate(all_have) if has != all_have[0]]
        if differ:
            raise DataError(
                f"the processes do not have the same {what}",
                expected=f"that of process 0, {all_have[0]}",
                got=f"{all_have[int(differ[0])]} in process {', '.join(differ)}",
                remedy="Compare their machines: options (with paths), manifest, images, devices.",
            )

    def shared(self, value: Value) -> Value:
        """The leader's value, in every process."""
        if self.size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def sums(self, *values: float) -> tuple[float, ...]:
        """Each value, summed over all processes."""
        if self.size == 1:
            return values
        import torch.distributed

        total = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(total)
        return tuple(total.tolist())

    def gathered(self, rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Rows of all processes, those of the first one first, at the leader; None elsewhere."""
        if self.size == 1:
            return rows
        import torch.distributed

        parts: list[Any] | None = [None] * self.size if self.leads else None
        torch.distributed.gather_object(rows, parts)
        return None if parts is None else np.concatenate(parts)


@contextmanager
def team(device: str = "auto") -> Iterator[Team]:
    """Join the processes that torchrun started; a team of one without it.

    Args:
        device: of ``fit``.

    Raises:
        DataError: a machine has fewer GPUs than processes, or another process has ended.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    import torch.distributed
    from torch.distributed.rendezvous import rendezvous

    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        if local_size > (gpus := torch.cuda.device_count()):
            raise DataError(
                "each process needs a GPU of its own",
                expected=f"at most {gpus} on this machine",
                got=f"{local_size} processes",
                remedy=f"Give --nproc-per-node {gpus}, or --device cpu.",
            )
        torch.cuda.set_device(local_rank)
    failed = True
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE_IN_TRAINING)))
        store = own_part(store, rank, size, PATIENCE_IN_TRAINING)
        torch.distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE
        )
        yield Team(rank, size, local_rank, local_size, on_gpus)
        failed = False
    except RuntimeError as error:
        if not _is_of_the_connection(error):
            raise
        raise DataError(
            "another process of the training has ended, or does not answer",
            got=str(error).splitlines()[0],
            remedy="The same command goes on after the last whole epoch; "
            "torchrun --max-restarts 3 does so by itself.",
        ) from error
    finally:
        # NCCL would wait for others, who may wait for this one.
        if torch.distributed.is_initialized() and not (failed and on_gpus):
            torch.distributed.destroy_process_group()


def _is_of_the_connection(error: RuntimeError) -> bool:
    from torch.distributed import DistError

    text = str(error).lower()
    told = isinstance(error, DistError) or "gloo" in text
    return told and any(word in text for word in LOST)
