"""The process group: several processes that train one network.

    torchrun --standalone --nproc-per-node 2 --max-restarts 3 -m training fit --manifest M --out RUN

torchrun starts the processes; ``process_group`` joins them. Every process makes its shard of each
batch, and gradients are averaged. The main process (rank 0) alone writes files and reports
progress. Without torchrun there is one process, and these functions cost nothing. If a process dies
the others end too; torchrun restarts all of them, and they resume after the last complete epoch.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError
from training.distributed.rendezvous import attempt_store

if TYPE_CHECKING:
    import torch.distributed
    from torch import nn

Value = TypeVar("Value")
# Other processes wait while rank 0 decodes images. For the rendezvous, and for gradients while
# rank 0 writes a checkpoint, they wait less: a process that hangs, or has lost power, sends no
# error.
TIMEOUT, GRADIENT_TIMEOUT = timedelta(hours=12), timedelta(minutes=15)
TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
LOST_CONNECTION = (
    "closed",
    "reset by peer",
    "timed out",
    "timeout",
    "remote process",
    "refused",
    "broken pipe",
)


@dataclass(frozen=True)
class World:
    """This process's place in the process group; by default a group of one."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine
    local_size: int = 1
    on_gpus: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the main process (rank 0), which writes files and reports progress."""
        return self.rank == 0

    @property
    def is_local_main(self) -> bool:
        """Whether this is its machine's main process (local rank 0), which decodes images."""
        return self.local_rank == 0

    def threads(self, of_machine: int) -> int:
        """Return this process's part of a machine's threads."""
        return max(1, of_machine // self.local_size)

    def barrier(self) -> None:
        """Block until every process reaches this point."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def shard(self, count: int) -> NDArray[np.int64]:
        """Return this process's rows of 0 to ``count``: contiguous, as even as possible."""
        return np.array_split(np.arange(count), self.size)[self.rank]

    def broadcast_buffers(self, module: "nn.Module") -> None:
        """Copy a module's running statistics from rank 0 to every process."""
        if self.size > 1:
            import torch.distributed

            for buffer in module.buffers():
                values = buffer.cpu()
                torch.distributed.broadcast(values, src=0)
                buffer.copy_(values)

    def gradient_group(self) -> "torch.distributed.ProcessGroup | None":
        """Make a process group for gradients: NCCL on GPUs, with a shorter timeout.

        Returns:
            The group; None for a single process.
        """
        if self.size == 1:
            return None
        import torch.distributed

        backend = "nccl" if self.on_gpus else "gloo"
        group: Any = torch.distributed.new_group(backend=backend, timeout=GRADIENT_TIMEOUT)
        return cast("torch.distributed.ProcessGroup", group)

    def destroy_group(self, group: "torch.distributed.ProcessGroup | None") -> None:
        """Leave a process group; NCCL requires all processes to do so together."""
        if group is not None:
            import torch.distributed

            torch.distributed.destroy_process_group(group)

    def all_gather(self, value: Value) -> list[Value]:
        """Return every process's value, by rank, in every process."""
        if self.size == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def check_same(self, what: str, value: str) -> None:
        """Compare every process's value with that of rank 0.

        Args:
            what: description of the value, for the message.
            value: this process's.

        Raises:
            DataError: in all processes, if one differs.
        """
        values = self.all_gather(value)
        differ = [rank for rank, other in enumerate(values) if other != values[0]]
        if differ:
            raise DataError(
                f"the processes do not have the same {what}",
                expected=f"that of process 0, {values[0]}",
                got=f"{values[differ[0]]} in process {', '.join(map(str, differ))}",
                remedy="Compare their machines: options (with paths), manifest, images, devices.",
            )

    def broadcast(self, value: Value) -> Value:
        """Return the value of rank 0 in every process."""
        if self.size == 1:
            return value
        import torch.distributed

        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def all_reduce_sum(self, *values: float) -> tuple[float, ...]:
        """Return each value summed over all processes, in every process."""
        if self.size == 1:
            return values
        import torch.distributed

        total = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(total)
        return tuple(total.tolist())

    def gather(self, rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the rows of all processes, by rank, in rank 0; None in the others."""
        if self.size == 1:
            return rows
        import torch.distributed

        parts: list[Any] | None = [None] * self.size if self.is_main else None
        torch.distributed.gather_object(rows, parts)
        return None if parts is None else np.concatenate(parts)


def _world_size(environment: Mapping[str, str]) -> int:
    """Return the number of processes that torchrun started; 1 without it.

    Raises:
        DataError: WORLD_SIZE is set, and torchrun's other variables are not.
    """
    text = environment.get("WORLD_SIZE", "1")
    missing = [name for name in TORCHRUN_VARIABLES if name not in environment]
    if not text.isdigit() or (text not in ("0", "1") and missing):
        raise DataError(
            f"WORLD_SIZE is {text!r} without torchrun",
            expected=f"{', '.join(TORCHRUN_VARIABLES)} beside it, as torchrun sets them",
            got=f"no {', '.join(missing)}" if missing else repr(text),
            remedy="Unset WORLD_SIZE, or start the processes with torchrun.",
        )
    return max(1, int(text))


@contextmanager
def process_group(device: str = "auto") -> Iterator[World]:
    """Join the processes that torchrun started; yield a world of one without torchrun.

    Args:
        device: the option of ``fit``.

    Raises:
        DataError: a machine has fewer GPUs than processes, or another process has ended.
    """
    size = _world_size(os.environ)
    if size == 1:
        yield World()
        return
    import torch.distributed
    from torch.distributed.rendezvous import rendezvous

    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        if local_size > (gpus := torch.cuda.device_count()):
            raise DataError(
                "each process needs its own GPU",
                expected=f"at most {gpus} on this machine",
                got=f"{local_size} processes",
                remedy=f"Give --nproc-per-node {gpus}, or --device cpu.",
            )
        torch.cuda.set_device(local_rank)
    failed = True
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=GRADIENT_TIMEOUT)))
        store = attempt_store(store, rank, size, GRADIENT_TIMEOUT)
        torch.distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT
        )
        yield World(rank, size, local_rank, local_size, on_gpus)
        failed = False
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise DataError(
            "another process of this training run has ended, or does not answer",
            got=str(error).splitlines()[0],
            remedy="Run the same command again to resume after the last complete epoch; "
            "torchrun --max-restarts 3 does so automatically.",
        ) from error
    finally:
        # After a failure NCCL would wait for other processes, which may wait for this one.
        if torch.distributed.is_initialized() and not (failed and on_gpus):
            torch.distributed.destroy_process_group()


def _is_lost_connection(error: RuntimeError) -> bool:
    from torch.distributed import DistError

    text = str(error).lower()
    of_the_group = isinstance(error, DistError) or "gloo" in text
    return of_the_group and any(word in text for word in LOST_CONNECTION)
