"""The optimizer step: mixed precision, gradient accumulation, learning rate, moving average (EMA).

SGD with momentum. The learning rate follows one cycle (Smith & Topin, 2018), or falls on a plateau:
when the validation accuracy has not risen for three epochs.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from augrank.errors import DataError
from training.backbone.compile import CompiledForOneShape, should_compile, validate_compile
from training.backbone.ema import Ema
from training.backbone.loader import TrainingBatch
from training.backbone.model import Backbone
from training.backbone.objective import Objective
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig

PLATEAU_PATIENCE = 3  # epochs


class BackboneOptimizer:
    """Trains a backbone, batch by batch.

    Args:
        backbone: on the device of ``ctx``; changed in place.
        config: learning rate, momentum, weight decay, schedule, EMA, gradient accumulation.
        ctx: device and processes that train together.
        steps: optimizer steps per epoch.
        objective: what is learned; by default one question, whose classes are all outputs.

    Raises:
        DataError: an option does not fit the device.
    """

    def __init__(
        self,
        backbone: Backbone,
        config: FitConfig,
        ctx: TrainContext,
        steps: int,
        objective: Objective | None = None,
    ) -> None:
        self._backbone, self._ctx = backbone, ctx
        objective = objective or Objective((backbone.last.out_features,))
        self._objective = objective.on(ctx.device.torch_device)
        self._group = ctx.world.gradient_group()
        check_device(config, ctx.device)
        validate_compile(config, ctx.world.size)
        if config.sync_bn:
            nn.SyncBatchNorm.convert_sync_batchnorm(backbone, self._group)  # type: ignore[no-untyped-call]
        self._compiled: CompiledForOneShape | None = None
        if should_compile(config, ctx.device, steps, ctx.world.size):
            required = config.compile is True
            self._compiled = CompiledForOneShape(backbone, config.image_size, required=required)
        # Compiled inside DDP: a process whose compilation fails stays in step with the others.
        self._network: nn.Module = self._compiled or backbone
        if ctx.world.size > 1:
            self._network = DistributedDataParallel(
                self._network, process_group=self._group, gradient_as_bucket_view=True
            )
        self._optimizer = _sgd(backbone, config)
        self._schedule = LearningRateSchedule(self._optimizer, config, steps)
        # float16 loses small gradients, so they are scaled up by a power of two.
        self._scaler = torch.amp.GradScaler(ctx.device.kind, enabled=ctx.device.precision == "fp16")
        self._ema = Ema(backbone, config.average) if config.average else None

    @property
    def evaluated(self) -> Backbone:
        """The backbone to evaluate and keep: the moving average (EMA) if there is one."""
        return self._backbone if self._ema is None else self._ema.backbone

    @property
    def learning_rate(self) -> float:
        """The current learning rate."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def is_compiled(self) -> bool:
        """Whether torch.compile is used."""
        return self._compiled is not None and not self._compiled.failure

    @property
    def compile_failure(self) -> str:
        """The reason why torch.compile failed; empty if it did not."""
        return self._compiled.failure if self._compiled else ""

    def train(self) -> None:
        """Switch to training mode, after an evaluation."""
        self._network.train()

    def step(self, batch: TrainingBatch) -> Tensor:
        """Run the backward pass, and the optimizer step if this completes the batch.

        Returns:
            float64 (3,) on the device: see ``Objective.figures``.
        """
        with self._gradient_sync(batch):
            with self._ctx.device.autocast():
                _, logits = self._network(batch.images)
            logits = logits.float()
            loss = self._objective.loss(logits, batch.label)
            torch.autograd.backward(self._scaler.scale(loss * batch.weight))
        if batch.completes:
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._optimizer.zero_grad(set_to_none=True)
            self._schedule.after_batch()
            if self._ema is not None:
                self._ema.update(self._backbone)
        return self._objective.figures(logits.detach(), batch.label)

    def end_epoch(self, validation_accuracy: float) -> None:
        """Let the schedule detect a plateau."""
        self._schedule.after_epoch(validation_accuracy)

    def close(self) -> None:
        """Leave the group that exchanges gradients; all processes do so together."""
        self._ctx.world.destroy_group(self._group)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the backbone, for a checkpoint."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": None if self._ema is None else self._ema.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if state["scaler"]:  # absent if the run had another precision before
            self._scaler.load_state_dict(state["scaler"])
        if self._ema is not None:
            self._ema.load_state_dict(state["average"])

    def _gradient_sync(self, batch: TrainingBatch) -> AbstractContextManager[Any]:
        """Exchange gradients between processes only with the last micro-batch of a batch."""
        if isinstance(self._network, DistributedDataParallel) and not batch.completes:
            return self._network.no_sync()
        return nullcontext()


def check_device(config: FitConfig, device: Device) -> None:
    """Check that the options fit the device.

    Raises:
        DataError: an option does not fit.
    """
    if config.sync_bn and not device.is_cuda:
        raise DataError(
            "--sync-bn needs GPUs",
            expected="a CUDA device in every process",
            got=device.name,
            remedy="Leave it out: on CPUs each process normalises its own shard of a batch.",
        )


def _sgd(backbone: Backbone, config: FitConfig) -> torch.optim.SGD:
    weights = [weight for weight in backbone.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(
        weights,
        lr=config.peak_learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
        fused=True,
    )
    if config.momentum:
        # The fused step would start from uninitialised memory, and leave it so if float16
        # overflows in the first step.
        for weight in weights:
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimizer


class LearningRateSchedule:
    """One cycle, stepped by batch, or a reduction on a plateau, stepped by epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: FitConfig, steps: int) -> None:
        self._scheduler: LRScheduler
        if config.schedule == "onecycle":
            self._scheduler = OneCycleLR(
                optimizer,
                config.peak_learning_rate,
                epochs=config.epochs,
                steps_per_epoch=steps,
                base_momentum=0.9 * config.momentum,
                max_momentum=config.momentum,
                cycle_momentum=config.momentum > 0,
            )
        else:
            self._scheduler = ReduceLROnPlateau(optimizer, mode="max", patience=PLATEAU_PATIENCE)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        state: dict[str, Any] = self._scheduler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self._scheduler.load_state_dict(state)

    def after_batch(self) -> None:
        """Step the cycle."""
        cycle = self._scheduler
        # A step past the end of the cycle would raise the rate again.
        if isinstance(cycle, OneCycleLR) and cycle.last_epoch + 1 < cycle.total_steps:
            cycle.step()

    def after_epoch(self, validation_accuracy: float) -> None:
        """Detect a plateau."""
        if isinstance(self._scheduler, ReduceLROnPlateau):
            self._scheduler.step(validation_accuracy)
