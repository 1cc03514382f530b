"""torch.compile where it pays off: for the one image shape that most batches of a long run have."""

from typing import Any

import torch
import torch._functorch.config
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from augrank.errors import DataError
from training.common.device import Device
from training.config import FitConfig

LEAST_STEPS = 10_000  # with fewer, a GPU does not regain the minute that compilation may take


def validate_compile(config: FitConfig, processes: int = 1) -> None:
    """Check that --compile fits the batch: all micro-batches must be of one size.

    Raises:
        DataError: the sizes differ.
    """
    if config.compile is True and not _is_even(config, processes):
        parts = processes * config.accumulate
        raise DataError(
            "--compile needs micro-batches of one size",
            expected=f"--batch-size that {parts} divides ({processes} processes, "
            f"--accumulate {config.accumulate})",
            got=str(config.batch_size),
        )


def should_compile(config: FitConfig, device: Device, steps: int, processes: int = 1) -> bool:
    """Return whether to compile the network.

    Args:
        config: the options.
        device: where it runs.
        steps: optimizer steps per epoch.
        processes: number of processes.
    """
    if config.compile != "auto":
        return config.compile
    is_long = steps * config.epochs >= LEAST_STEPS
    # SyncBatchNorm would split the graph.
    return device.is_cuda and is_long and _is_even(config, processes) and not config.sync_bn


def _is_even(config: FitConfig, processes: int) -> bool:
    return config.batch_size % (processes * config.accumulate) == 0


class CompiledForOneShape(nn.Module):
    """Calls a network compiled for images of the usual shape, and uncompiled for others.

    A graph for any shape would be slower for the usual one, and each further shape would be
    compiled again: an epoch's last batch and the smaller images of ``--progressive`` are not.

    Args:
        network: to compile.
        side: of the usual images; the first batch of that side sets the usual shape.
        required: whether a failure of the compiler is an error; otherwise it is only recorded.
    """

    def __init__(self, network: nn.Module, side: int, *, required: bool) -> None:
        super().__init__()
        self._network, self._side, self._required = network, side, required
        # Compile the backward pass with the first forward pass, so that its failure is caught too.
        torch._functorch.config.force_non_lazy_backward_lowering = True
        self._compiled: Any = torch.compile(network.forward, dynamic=False)
        self._shape: torch.Size | None = None
        self.failure = ""  # why the network runs uncompiled

    def forward(self, images: Tensor) -> Any:
        """Return the network's output.

        Raises:
            DataError: compilation failed, though it was required.
        """
        if self._shape is None and images.shape[-1] == self._side:
            self._shape = images.shape
        if self.failure or images.shape != self._shape:
            return self._network(images)
        try:
            return self._compiled(images)
        except TorchDynamoException as error:  # for example: there is no C compiler
            reason = str(error).strip().splitlines()[0]
            if self._required:
                raise DataError(
                    f"torch.compile failed: {reason}", remedy="Leave out --compile."
                ) from error
            self.failure = reason
            return self._network(images)
