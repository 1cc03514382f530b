"""How the backbone's weights change: optimiser, learning rate, scaled gradients, moving average."""

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import get_ema_multi_avg_fn

from augrank.errors import DataError
from training.backbone.compile import CompiledForOneShape, wanted
from training.backbone.loader import TrainingBatch
from training.backbone.model import Backbone
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig

PLATEAU_PATIENCE = 3


class Optimisation:
    """A backbone that learns, batch by batch.

    Args:
        backbone: on the device of ``ctx``; changed in place.
        config: learning rate, momentum, weight decay, schedule, average, accumulation.
        ctx: device and processes that train together.
        steps: optimizer steps in an epoch.

    Raises:
        DataError: an option does not fit the device.
    """

    def __init__(
        self, backbone: Backbone, config: FitConfig, ctx: TrainContext, steps: int
    ) -> None:
        device, world = ctx.device, ctx.world
        self._backbone, self._ctx, self._group = backbone, ctx, world.gradient_group()
        check_device(config, device)
        if config.sync_bn:
            nn.SyncBatchNorm.convert_sync_batchnorm(backbone, self._group)  # type: ignore[no-untyped-call]
        self._compiled: CompiledForOneShape | None = None
        if wanted(config, device, steps, world.size):
            asked = config.compile is True
            self._compiled = CompiledForOneShape(backbone, config.image_size, asked=asked)
        # Compiled inside: a process where that fails goes on in step with the others.
        self._network: nn.Module = self._compiled or backbone
        if world.size > 1:
            self._network = DistributedDataParallel(
                self._network, process_group=self._group, gradient_as_bucket_view=True
            )
        learning = [weight for weight in backbone.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.SGD(
            learning,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
            fused=True,
        )
        if config.momentum:
            # The fused step would begin with memory as it is, and leaves it so where float16
            # overflows in the first step.
            for weight in learning:
                self._optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        self._schedule = Schedule(self._optimizer, config, steps)
        # float16 loses small gradients, so they are computed a power of two larger.
        self._scaler = torch.amp.GradScaler(device.kind, enabled=device.precision == "fp16")
        self._average = MovingAverage(backbone, config.average) if config.average else None

    @property
    def evaluated(self) -> Backbone:
        """What is measured and kept: the moving average where there is one."""
        return self._backbone if self._average is None else self._average.backbone

    @property
    def learning_rate(self) -> float:
        """At this moment."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def compiled(self) -> bool:
        """Whether torch.compile is used."""
        return self._compiled is not None and not self._compiled.failure

    @property
    def uncompiled(self) -> str:
        """Why torch.compile was to be used and could not be; empty otherwise."""
        return self._compiled.failure if self._compiled else ""

    def begin_epoch(self) -> None:
        """Normalise by batches again, after an evaluation."""
        self._network.train()

    def learn(self, batch: TrainingBatch) -> Tensor:
        """Go back through the network, and step where the batch is complete.

        Returns:
            float32 (2,) on the device: summed loss, and how many were told rightly.
        """
        with self._together(batch):
            with self._ctx.device.autocast():
                _, logits = self._network(batch.images)
            loss = nn.functional.cross_entropy(logits.float(), batch.label)
            torch.autograd.backward(self._scaler.scale(loss * batch.weight))
        if batch.completes:
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._optimizer.zero_grad(set_to_none=True)
            self._schedule.after_batch()
            if self._average is not None:
                self._average.update(self._backbone)
        right = (logits.detach().argmax(1) == batch.label).sum()
        return torch.stack([loss.detach() * len(batch.label), right.float()])

    def end_epoch(self, accuracy: float) -> None:
        """A plateau of the validation accuracy is noticed."""
        self._schedule.after_epoch(accuracy)

    def close(self) -> None:
        """After the last batch: all processes at once leave those that exchange gradients."""
        self._ctx.world.destroy_group(self._group)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the backbone, for a checkpoint."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if state["scaler"]:  # none was there where the run had another precision before
            self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])

    def _together(self, batch: TrainingBatch) -> AbstractContextManager[Any]:
        """Processes exchange gradients with the last piece of a batch alone."""
        if isinstance(self._network, DistributedDataParallel) and not batch.completes:
            return self._network.no_sync()
        return nullcontext()


def check_device(config: FitConfig, device: Device) -> None:
    """Hold options against the device.

    Raises:
        DataError: one does not fit it.
    """
    if config.sync_bn and not device.is_cuda:
        raise DataError(
            "--sync-bn needs GPUs",
            expected="a CUDA device in every process",
            got=device.name,
            remedy="Leave it out: on CPUs each process normalises its own share of a batch.",
        )


class MovingAverage:
    """The weights' exponential moving average, which often does better than the weights.

    Of early steps it has a smaller share, so that the random start is soon forgotten: the decay
    rises to its value as (1 + n) / (10 + n).
    """

    def __init__(self, backbone: Backbone, decay: float) -> None:
        self.backbone = deepcopy(backbone).requires_grad_(False).eval()
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, backbone: Backbone) -> None:
        """Take in the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        own, now = self.backbone.state_dict(), backbone.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        mix = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        mix([own[name] for name in floats], [now[name] for name in floats], self._steps)
        for name in own.keys() - set(floats):
            own[name].copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"weights": self.backbone.plain_state(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.backbone.net.load_state_dict(state["weights"])
        self._steps = state["steps"]


class Schedule:
    """One cycle stepped by batch, or a fall on a plateau stepped by epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: FitConfig, steps: int) -> None:
        self._scheduler: LRScheduler
        if config.schedule == "onecycle":
            self._scheduler = OneCycleLR(
                optimizer,
                config.learning_rate,
                epochs=config.epochs,
                steps_per_epoch=steps,
                base_momentum=0.9 * config.momentum,
                max_momentum=config.momentum,
                cycle_momentum=config.momentum > 0,
            )
        else:
            self._scheduler = ReduceLROnPlateau(optimizer, mode="max", patience=PLATEAU_PATIENCE)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        state: dict[str, Any] = self._scheduler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._scheduler.load_state_dict(state)

    def after_batch(self) -> None:
        """One cycle takes a step."""
        cycle = self._scheduler
        # A step past the end of the cycle would raise the rate again.
        if isinstance(cycle, OneCycleLR) and cycle.last_epoch + 1 < cycle.total_steps:
            cycle.step()

    def after_epoch(self, accuracy: float) -> None:
        """A plateau is noticed."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(accuracy)
