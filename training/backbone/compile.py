"""torch.compile where it pays: for the one shape that most batches of a long run have."""

from typing import Any

import torch
import torch._functorch.config
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from augrank.errors import DataError
from training.common.device import Device
from training.config import FitConfig

LEAST_STEPS = 10_000  # below, a GPU does not win back the minute that compiling may take


def wanted(config: FitConfig, device: Device, steps: int, processes: int = 1) -> bool:
    """Whether a run of so many steps an epoch is to be compiled.

    Raises:
        DataError: that was asked for, and the pieces of a batch are not of one size.
    """
    pieces = processes * config.accumulate
    even = config.batch_size % pieces == 0
    if config.compile == "auto":
        long = steps * config.epochs >= LEAST_STEPS
        return device.is_cuda and long and even and not config.sync_bn  # which would cut the graph
    if config.compile and not even:
        raise DataError(
            "--compile needs pieces of one size",
            expected=f"--batch-size that {pieces} divides ({processes} processes, "
            f"--accumulate {config.accumulate})",
            got=str(config.batch_size),
        )
    return config.compile


class CompiledForOneShape(nn.Module):
    """Calls a network compiled where images have the usual shape, and as it is elsewhere.

    A graph for any shape would be slower for the usual one, and each further shape would be
    compiled again: an epoch's last batch and the smaller images of ``--progressive`` are not.

    Args:
        network: to compile.
        side: of the usual images; the first batch of such is the usual one.
        asked: whether it must be compiled; otherwise a failure of the compiler is noted only.
    """

    def __init__(self, network: nn.Module, side: int, *, asked: bool) -> None:
        super().__init__()
        self._network, self._side, self._asked = network, side, asked
        # With the first forward pass, so that what fails there goes uncompiled too.
        torch._functorch.config.force_non_lazy_backward_lowering = True
        self._compiled: Any = torch.compile(network.forward, dynamic=False)
        self._shape: torch.Size | None = None
        self.failure = ""  # why it goes uncompiled

    def forward(self, images: Tensor) -> Any:
        """What the network gives.

        Raises:
            DataError: it cannot be compiled, though that was asked for.
        """
        if self._shape is None and images.shape[-1] == self._side:
            self._shape = images.shape
        if self.failure or images.shape != self._shape:
            return self._network(images)
        try:
            return self._compiled(images)
        except TorchDynamoException as error:  # such as: there is no C compiler
            reason = str(error).strip().splitlines()[0]
            if self._asked:
                raise DataError(
                    f"torch.compile failed: {reason}", remedy="Leave out --compile."
                ) from error
            self.failure = reason
            return self._network(images)
