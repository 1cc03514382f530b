"""The services that all of training uses, passed as one object."""

from dataclasses import dataclass, field, replace

from augrank.reporting import NullReporter, Reporter
from training.common.device import Device
from training.distributed.world import World


@dataclass(frozen=True)
class TrainContext:
    """Reporter, process group and device.

    The default is one process that prints nothing and computes in float32 on the CPU. Parameters of
    this type are named ``ctx``, because "context" means that of a campaign.
    """

    reporter: Reporter = field(default_factory=NullReporter)
    world: World = field(default_factory=World)
    device: Device = field(default_factory=Device)

    def on(self, device: Device) -> "TrainContext":
        """Return the same context on another device."""
        return replace(self, device=device)
