"""Teaches the backbone to tell augmentations apart. Its embedding is what the heads work on.

Cross-entropy on augmentation labels, SGD with momentum; every (original, augmentation) of the
training split once an epoch. The learning rate follows one cycle (Smith & Topin, 2018), or, as in
the first experiments, falls when the validation accuracy has not risen for three epochs.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from augrank.errors import DataError
from training.backbone import Backbone
from training.checkpoint import Checkpoints, Epoch, Progress
from training.config import DeviceChoice, FitConfig, Precision
from training.distributed import Team
from training.progress import Display
from training.samples import Batches, Jitter, Samples

Item = TypeVar("Item")
PLATEAU_PATIENCE = 3
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Engine:
    """Where and how networks run."""

    device: torch.device
    bf16: bool

    @classmethod
    def choose(cls, device: DeviceChoice, precision: Precision) -> "Engine":
        """Resolve ``auto``: CUDA where there is one, bfloat16 where the hardware multiplies it."""
        available = torch.cuda.is_available()
        if device == "cuda" and not available:
            raise DataError(
                "CUDA is not available",
                expected="an NVIDIA GPU that this torch can use",
                remedy="Leave out --device, or give --device cpu.",
            )
        cuda = available and device != "cpu"
        if precision != "auto":
            fast = precision == "bf16"
        elif cuda:
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.cpu._is_amx_tile_supported()
        return cls(torch.device("cuda" if cuda else "cpu"), bool(fast))

    @property
    def name(self) -> str:
        """For reports: ``cpu, bf16``."""
        return f"{self.device.type}, {'bf16' if self.bf16 else 'fp32'}"

    def tensor(self, batch: NDArray[np.float32]) -> Tensor:
        """float32 (B, S, S, 3) to a channels-last tensor (B, 3, S, S) on the device, no copy."""
        pictures = torch.from_numpy(batch).permute(0, 3, 1, 2)
        return pictures.to(self.device, non_blocking=True)

    def autocast(self) -> torch.autocast:
        """bfloat16 where it was chosen."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


@dataclass(frozen=True)
class Recognition:
    """The outcome: weights of the best epoch (they are in the backbone) and the history."""

    history: tuple[Epoch, ...]
    best: int


def recognise(
    backbone: Backbone,
    batches: Batches,
    train: Samples,
    validation: Samples,
    config: FitConfig,
    *,
    jitter: Jitter,
    engine: Engine,
    checkpoints: Checkpoints,
    display: Display,
    team: Team = Team(),
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Recognition:
    """Train, or go on after the last whole epoch, and leave the best weights in the backbone.

    Args:
        backbone: initialised; changed in place.
        batches: makes the pictures.
        train: samples to learn from.
        validation: samples that choose the best epoch.
        config: epochs, batch size, learning rate, momentum, weight decay, schedule.
        jitter: of the training pictures.
        engine: device and precision.
        checkpoints: where epochs are saved.
        display: shows progress.
        team: the processes that train together; ``batches`` has the same one.
        on_epoch: told of every epoch, those of before an interrupt first.
    """
    backbone.to(engine.device)
    backbone.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        backbone.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )
    schedule = Schedule(optimizer, config, steps=-(-len(train) // config.batch_size))
    history: tuple[Epoch, ...] = ()
    best = 0
    if (progress := team.shared(checkpoints.load() if team.leads else None)) is not None:
        backbone.net.load_state_dict(progress.model)
        optimizer.load_state_dict(progress.optimizer)
        schedule.load_state_dict(progress.scheduler)
        history, best = progress.history, progress.best
        display.say(f"Going on after epoch {len(history)} of {config.epochs}")
    for epoch in history:
        on_epoch(epoch)
    network = DistributedDataParallel(backbone) if team.size > 1 else backbone

    for number in range(len(history) + 1, config.epochs + 1):
        start = time.perf_counter()
        title = f"Epoch {number}/{config.epochs}"
        with display.bar(title, len(train), "pictures") as advance:
            loss, accuracy, waited_s = train_epoch(
                network, batches, train, jitter, number, optimizer, schedule, engine, team, advance
            )
        seconds = time.perf_counter() - start
        scored = evaluate(backbone, batches, validation, engine, team)
        schedule.after_epoch(scored.accuracy)
        epoch = Epoch(
            number=number,
            loss=loss,
            train_accuracy=accuracy,
            validation_accuracy=scored.accuracy,
            validation_loss=scored.loss,
            learning_rate=schedule.learning_rate,
            samples_per_s=len(train) / seconds,
            seconds=time.perf_counter() - start,
            input_share=waited_s / seconds,
        )
        improved = best == 0 or _better(epoch, history[best - 1])
        best = number if improved else best
        history = (*history, epoch)
        if team.leads:
            state = backbone.plain_state()
            progress = Progress(history, best, state, optimizer.state_dict(), schedule.state_dict())
            checkpoints.save(progress, state if improved else None)
        display.say(_line(epoch, config.epochs, best=improved))
        on_epoch(epoch)
    backbone.net.load_state_dict(team.shared(checkpoints.best_weights() if team.leads else {}))
    return Recognition(history, best)


@dataclass(frozen=True)
class Evaluation:
    """Cross-entropy and accuracy on some samples."""

    loss: float
    accuracy: float


@torch.inference_mode()
def evaluate(
    backbone: Backbone, batches: Batches, samples: Samples, engine: Engine, team: Team = Team()
) -> Evaluation:
    """Score samples as served, without jitter; each process of a team a part of them."""
    team.same_buffers(backbone)
    backbone.eval()
    samples = samples[team.share(len(samples))]
    loss, hits, done = 0.0, 0, 0
    for batch in batches.in_order(samples):
        labels = torch.from_numpy(samples.label[done : done + len(batch)]).to(engine.device)
        with engine.autocast():
            _, logits = backbone(engine.tensor(batch))
        loss += float(nn.functional.cross_entropy(logits.float(), labels, reduction="sum"))
        hits += int((logits.argmax(1) == labels).sum())
        done += len(batch)
    loss, correct, count = team.sums(loss, hits, done)
    return Evaluation(loss / count, correct / count)


class Schedule:
    """One cycle stepped by batch, or a fall on a plateau stepped by epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, config: FitConfig, steps: int) -> None:
        self._optimizer = optimizer
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

    @property
    def learning_rate(self) -> float:
        """At this moment."""
        return float(self._optimizer.param_groups[0]["lr"])

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


class Waited(Iterator[Item]):
    """An iterator that knows for how long it was waited for."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items, self.seconds = items, 0.0

    def __next__(self) -> Item:
        start = time.perf_counter()
        try:
            return next(self._items)
        finally:
            self.seconds += time.perf_counter() - start


def train_epoch(
    network: nn.Module,
    batches: Batches,
    train: Samples,
    jitter: Jitter,
    number: int,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    engine: Engine,
    team: Team,
    advance: Callable[[int, str], None],
) -> tuple[float, float, float]:
    """Mean loss and accuracy over the epoch's samples, and seconds spent waiting for pictures."""
    network.train()
    loss_sum, hits, done = 0.0, 0, 0
    made = Waited(batches.shuffled(train, jitter, number))
    for batch, label, weight in made:
        labels = torch.from_numpy(label).to(engine.device)
        with engine.autocast():
            _, logits = network(engine.tensor(batch))
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss * weight)
        optimizer.step()
        schedule.after_batch()
        loss_sum += float(loss.detach()) * len(label)
        hits += int((logits.argmax(1) == labels).sum())
        done += len(label)
        advance(len(label) * team.size, f"loss {loss_sum / done:.3f}  accuracy {hits / done:.1%}")
    loss_sum, correct, count = team.sums(loss_sum, hits, done)
    return loss_sum / count, correct / count, made.seconds


def _better(epoch: Epoch, best: Epoch) -> bool:
    """Higher accuracy; at the same accuracy, a lower loss."""
    return (epoch.validation_accuracy, -epoch.validation_loss) > (
        best.validation_accuracy,
        -best.validation_loss,
    )


def _line(epoch: Epoch, epochs: int, *, best: bool) -> str:
    return (
        f"Epoch {epoch.number:>3}/{epochs}  loss {epoch.loss:.4f}  "
        f"validation accuracy {epoch.validation_accuracy:6.2%}{' *' if best else '  '}  "
        f"{epoch.samples_per_s:5.0f} pictures/s  "
        f"{(epochs - epoch.number) * epoch.seconds:4.0f} s left"
    )
