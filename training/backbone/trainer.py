"""Teaches the backbone to tell augmentations apart. Its embedding is what the heads work on.

Cross-entropy on augmentation labels, SGD with momentum; every (original, augmentation) of the
training split once an epoch. The learning rate follows one cycle (Smith & Topin, 2018), or, as in
the first experiments, falls when the validation accuracy has not risen for three epochs.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from augrank.errors import DataError
from training.backbone.checkpoint import Checkpoints, Epoch, Progress
from training.backbone.crops import Jitter
from training.backbone.loader import BatchLoader, TrainingBatch
from training.backbone.model import Backbone
from training.backbone.optimizer import Optimisation
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.samples import Samples


class Diverged(DataError):
    """The loss is no number any more."""


TOLD_EVERY_S = 0.5  # asking a GPU how it goes makes it wait


@dataclass(frozen=True)
class Recognition:
    """The outcome: weights of the best epoch (they are in the backbone) and the history."""

    history: tuple[Epoch, ...]
    best: int


def recognise(
    backbone: Backbone,
    batches: BatchLoader,
    train: Samples,
    validation: Samples,
    config: FitConfig,
    *,
    jitter: Jitter,
    checkpoints: Checkpoints,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Recognition:
    """Train, or go on after the last whole epoch, and leave the best weights in the backbone.

    Args:
        backbone: initialised; changed in place.
        batches: makes the images.
        train: samples to learn from.
        validation: samples that choose the best epoch.
        config: epochs, batch size, learning rate, momentum, weight decay, schedule.
        jitter: of the training images.
        checkpoints: where epochs are saved.
        ctx: that of ``batches``.
        on_epoch: told of every epoch, those of before an interrupt first.

    Raises:
        Diverged: the loss is no number any more.
    """
    world, reporter = ctx.world, ctx.reporter
    backbone.to(ctx.device.torch_device)
    backbone.to(memory_format=torch.channels_last)
    steps = -(-len(train) // config.batch_size)
    optimisation = Optimisation(backbone, config, ctx, steps)
    history: tuple[Epoch, ...] = ()
    best = 0
    if (progress := world.broadcast(checkpoints.load() if world.is_main else None)) is not None:
        backbone.net.load_state_dict(progress.model)
        optimisation.load_state_dict(progress.optimisation)
        history, best = progress.history, progress.best
        reporter.say(f"Going on after epoch {len(history)} of {config.epochs}")
    for epoch in history:
        on_epoch(epoch)

    if optimisation.compiled:
        reporter.say("The first step compiles the network, which may take a minute")
    told = False
    for number in range(len(history) + 1, config.epochs + 1):
        start = time.perf_counter()
        title = f"Epoch {number}/{config.epochs}"
        made = batches.shuffled(
            train, jitter, number, size=config.side(number), pieces=config.accumulate
        )
        with reporter.bar(title, len(train), "images") as advance:
            trained = train_epoch(optimisation, made, ctx, advance)
        seconds = time.perf_counter() - start
        scored = evaluate(optimisation.evaluated, batches, validation, ctx)
        if not math.isfinite(trained.loss + scored.loss):
            raise Diverged(
                f"training has diverged: in epoch {number} the loss is no number any more",
                remedy="Give a lower --learning-rate, or --precision fp32, and --overwrite.",
            )
        optimisation.end_epoch(scored.accuracy)
        epoch = Epoch(
            number=number,
            loss=trained.loss,
            train_accuracy=trained.accuracy,
            validation_accuracy=scored.accuracy,
            validation_loss=scored.loss,
            learning_rate=optimisation.learning_rate,
            samples_per_s=len(train) / seconds,
            seconds=time.perf_counter() - start,
            input_share=trained.waited_s / seconds,
        )
        improved = best == 0 or _better(epoch, history[best - 1])
        best = number if improved else best
        history = (*history, epoch)
        if world.is_main:
            progress = Progress(history, best, backbone.plain_state(), optimisation.state_dict())
            weights = optimisation.evaluated.plain_state() if improved else None
            checkpoints.save(progress, weights)
        reporter.say(_line(epoch, config.epochs, best=improved))
        if optimisation.uncompiled and not told:
            reporter.say(f"Going on without torch.compile: {optimisation.uncompiled}")
            told = True
        on_epoch(epoch)
    optimisation.close()
    backbone.net.load_state_dict(
        world.broadcast(checkpoints.best_weights(best) if world.is_main else {})
    )
    return Recognition(history, best)


@dataclass(frozen=True)
class Evaluation:
    """Cross-entropy and accuracy on some samples."""

    loss: float
    accuracy: float


@torch.inference_mode()
def evaluate(
    backbone: Backbone, batches: BatchLoader, samples: Samples, ctx: TrainContext
) -> Evaluation:
    """Score samples as served, without jitter; each process a shard of them."""
    device, world = ctx.device, ctx.world
    world.broadcast_buffers(backbone)
    backbone.eval()
    samples = samples[world.shard(len(samples))]
    sums, done = torch.zeros(2, dtype=torch.float64, device=device.torch_device), 0
    for batch in batches.in_order(samples):
        labels = device.tensor(samples.label[done : done + len(batch)])
        with device.autocast():
            _, logits = backbone(batch)
        losses = nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
        sums += torch.stack([losses, (logits.argmax(1) == labels).sum().float()])
        done += len(batch)
    loss, correct, count = world.all_reduce_sum(*sums.tolist(), done)
    return Evaluation(loss / count, correct / count)


@dataclass(frozen=True)
class TrainedEpoch:
    """What an epoch came to."""

    loss: float  # mean over its samples
    accuracy: float  # of its samples, as they were seen
    waited_s: float  # for images


def train_epoch(
    optimisation: Optimisation,
    batches: Iterator[TrainingBatch],
    ctx: TrainContext,
    advance: Callable[[int, str], None],
) -> TrainedEpoch:
    """Learn from every batch once.

    Args:
        optimisation: what learns.
        batches: of this process.
        ctx: the processes that train together.
        advance: told how many samples went by, and how it goes.
    """
    optimisation.begin_epoch()
    sums, done, waited_s, told = None, 0, 0.0, time.perf_counter()
    for batch in batches:
        learned = optimisation.learn(batch).double()
        sums = learned if sums is None else sums + learned
        done += len(batch.label)
        waited_s += batch.waited_s
        text = ""
        if (now := time.perf_counter()) - told > TOLD_EVERY_S:
            told, (loss, right) = now, sums.tolist()
            text = f"loss {loss / done:.3f}  accuracy {right / done:.1%}"
        advance(len(batch.label) * ctx.world.size, text)
    loss, right = (0.0, 0.0) if sums is None else sums.tolist()
    loss, right, count = ctx.world.all_reduce_sum(loss, right, done)
    return TrainedEpoch(loss / count, right / count, waited_s)


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
        f"{epoch.samples_per_s:5.0f} images/s  "
        f"{(epochs - epoch.number) * epoch.seconds:4.0f} s left"
    )
