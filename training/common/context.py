"""The services that all of training uses, passed as one object."""

from dataclasses import dataclass, field, replace

from augrank.reporting import NullReporter, Reporter
from training.common.device import Device
from training.common.threads import FreeThreads
from training.distributed.world import World


@dataclass(frozen=True)
class TrainContext:
    """Reporter, process group, device and threads.

    The default is one process that prints nothing and computes in float32 on the CPU. Parameters of
    this type are named ``ctx``, because "context" means that of a campaign.
    """

    reporter: Reporter = field(default_factory=NullReporter)
    world: World = field(default_factory=World)
    device: Device = field(default_factory=Device)
    threads: FreeThreads = field(default_factory=FreeThreads)

    def on(self, device: Device) -> "TrainContext":
        """Return the same context on another device."""
        return replace(self, device=device)

    def with_threads(self, threads: FreeThreads) -> "TrainContext":
        """Return the same context with threads that follow the free cores."""
        return replace(self, threads=threads)
