"""The epoch loop: train, evaluate, save a checkpoint, resume.

The backbone learns to classify images, with cross-entropy: ``recommend`` shows it every (original,
augmentation) of the training split once per epoch, and asks for the augmentation; ``classify`` asks
for labels. The heads use its embedding.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from augrank.errors import DataError
from training.backbone.checkpoint import Checkpoint, Checkpoints
from training.backbone.crops import RandomCrops
from training.backbone.loader import BatchLoader, TrainingBatch
from training.backbone.model import Backbone
from training.backbone.objective import Objective
from training.backbone.optimizer import BackboneOptimizer
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.samples import Samples
from training.run.epoch import Epoch, TrainingHistory, ignore_epoch

PROGRESS_EVERY_S = 0.5  # reading the loss makes the CPU wait for the GPU


class TrainingDiverged(DataError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class TrainingData:
    """The data of every epoch.

    Attributes:
        loader: makes the batches; for the same context as the trainer.
        train: samples to learn from.
        validation: samples that choose the best epoch.
        crops: random crops of the training images.
        objective: what is learned.
    """

    loader: BatchLoader
    train: Samples
    validation: Samples
    crops: RandomCrops
    objective: Objective


class Trainer:
    """Trains a backbone epoch by epoch, resuming after the last complete one.

    Args:
        backbone: initialised; changed in place.
        data: loader, samples and crops.
        config: epochs, batch size, learning rate, momentum, weight decay, schedule.
        checkpoints: where epochs are saved.
        ctx: device, progress and processes.
    """

    def __init__(
        self,
        backbone: Backbone,
        data: TrainingData,
        config: FitConfig,
        checkpoints: Checkpoints,
        ctx: TrainContext,
    ) -> None:
        backbone.to(ctx.device.torch_device)
        backbone.to(memory_format=torch.channels_last)
        self._backbone, self._data, self._config = backbone, data, config
        self._checkpoints, self._ctx = checkpoints, ctx
        self._phase, self._optimizer = self._begin_phase(1)
        self._compile_failure = ""  # already reported

    def fit(self, on_epoch: Callable[[Epoch], None] = ignore_epoch) -> TrainingHistory:
        """Train all epochs, and leave the best weights in the backbone.

        Args:
            on_epoch: called after every epoch, and first for those before an interrupt.

        Raises:
            TrainingDiverged: the loss became NaN or infinite.
        """
        history, reporter = self._resume(), self._ctx.reporter
        for epoch in history.epochs:
            on_epoch(epoch)
        if self._optimizer.is_compiled:
            reporter.say("The first step compiles the network, which may take a minute")
        for number in range(len(history) + 1, self._config.epochs + 1):
            self._enter_phase(number)
            epoch = self._run_epoch(number)
            history = history.with_epoch(epoch)
            self._save(history)
            is_best = history.best == number
            reporter.say(_line(epoch, self._config.epochs, is_best=is_best))
            self._report_compile_failure()
            on_epoch(epoch)
        self._optimizer.close()
        is_main = self._ctx.world.is_main
        best = self._checkpoints.best_weights(history.best) if is_main else {}
        self._backbone.net.load_state_dict(self._ctx.world.broadcast(best))
        return history

    def _begin_phase(self, number: int) -> tuple[FitConfig, BackboneOptimizer]:
        """Return the options of an epoch's phase, and an optimizer of what it trains."""
        phase, data = self._config.phase(number), self._data
        if phase.freeze:
            self._backbone.freeze()
        else:
            self._backbone.unfreeze()
        steps = -(-len(data.train) // phase.batch_size)
        return phase, BackboneOptimizer(self._backbone, phase, self._ctx, steps, data.objective)

    def _enter_phase(self, number: int) -> None:
        """Begin the phase of an epoch, unless it has begun: from the last weights, not the best."""
        if self._config.phase(number) == self._phase:
            return
        self._optimizer.close()
        self._phase, self._optimizer = self._begin_phase(number)
        if self._optimizer.is_compiled:
            self._ctx.reporter.say("All of the network is trained from now on, compiled again")

    def _resume(self) -> TrainingHistory:
        """Restore the last checkpoint, in every process."""
        world = self._ctx.world
        last = world.broadcast(self._checkpoints.load() if world.is_main else None)
        if last is None:
            return TrainingHistory()
        self._backbone.net.load_state_dict(last.model)
        self._enter_phase(len(last.history))
        self._optimizer.load_state_dict(last.optimizer)
        self._ctx.reporter.say(f"Resuming after epoch {len(last.history)} of {self._config.epochs}")
        return last.history

    def _run_epoch(self, number: int) -> Epoch:
        """Train and evaluate one epoch."""
        start = time.perf_counter()
        data, config, optimizer = self._data, self._config, self._optimizer
        batches = data.loader.shuffled(
            data.train,
            data.crops,
            number,
            size=config.side(number),
            micro_batches=config.accumulate,
        )
        title = f"Epoch {number}/{config.epochs}"
        with self._ctx.reporter.bar(title, len(data.train), "images") as advance:
            trained = train_epoch(optimizer, batches, self._ctx, advance)
        train_seconds = time.perf_counter() - start
        validated = evaluate(optimizer.evaluated, data, data.validation, self._ctx)
        if not math.isfinite(trained.loss + validated.loss):
            raise TrainingDiverged(
                f"training has diverged: the loss of epoch {number} is NaN or infinite",
                remedy="Give a lower --learning-rate, or --precision fp32, and --overwrite.",
            )
        optimizer.end_epoch(validated.accuracy)
        return Epoch(
            number=number,
            loss=trained.loss,
            train_accuracy=trained.accuracy,
            validation_accuracy=validated.accuracy,
            validation_loss=validated.loss,
            learning_rate=optimizer.learning_rate,
            samples_per_s=len(data.train) / train_seconds,
            seconds=time.perf_counter() - start,
            input_share=trained.waited_s / train_seconds,
        )

    def _save(self, history: TrainingHistory) -> None:
        """Save a checkpoint, in the main process (rank 0)."""
        if not self._ctx.world.is_main:
            return
        optimizer, backbone = self._optimizer, self._backbone
        checkpoint = Checkpoint(history, backbone.plain_state(), optimizer.state_dict())
        is_best = history.best == len(history)
        best_weights = optimizer.evaluated.plain_state() if is_best else None
        self._checkpoints.save(checkpoint, best_weights)

    def _report_compile_failure(self) -> None:
        failure = self._optimizer.compile_failure
        if failure != self._compile_failure:
            self._ctx.reporter.say(f"Continuing without torch.compile: {failure}")
            self._compile_failure = failure


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy and accuracy of the answers to some samples."""

    loss: float
    accuracy: float


@torch.inference_mode()
def evaluate(
    backbone: Backbone, data: TrainingData, samples: Samples, ctx: TrainContext
) -> Evaluation:
    """Score samples as served, without random crops; each process scores a shard of them."""
    device, world = ctx.device, ctx.world
    world.broadcast_buffers(backbone)
    backbone.eval()
    samples = samples.by_owner()[world.shard(len(samples))]
    sums, done = torch.zeros(3, dtype=torch.float64, device=device.torch_device), 0
    for batch in data.loader.in_order(samples):
        labels = device.tensor(samples.label[done : done + len(batch)])
        with device.autocast():
            _, logits = backbone(batch)
        sums += data.objective.figures(logits.float(), labels)
        done += len(batch)
    loss, correct, answers = world.all_reduce_sum(*sums.tolist())
    return Evaluation(loss / max(answers, 1), correct / max(answers, 1))


@dataclass(frozen=True)
class TrainedEpoch:
    """The figures of the training phase of an epoch."""

    loss: float  # mean over the answers to its samples
    accuracy: float  # of them, as they were shown
    waited_s: float  # for images


def train_epoch(
    optimizer: BackboneOptimizer,
    batches: Iterator[TrainingBatch],
    ctx: TrainContext,
    advance: Callable[[int, str], None],
) -> TrainedEpoch:
    """Train on every batch once.

    Args:
        optimizer: of the backbone.
        batches: this process's shards.
        ctx: the processes that train together.
        advance: called with the number of samples, and with loss and accuracy so far.
    """
    optimizer.train()
    sums, waited_s, last_text = None, 0.0, time.perf_counter()
    for batch in batches:
        ctx.threads.follow()
        step = optimizer.step(batch)
        sums = step if sums is None else sums + step
        waited_s += batch.waited_s
        text = ""
        if (now := time.perf_counter()) - last_text > PROGRESS_EVERY_S:
            last_text, (loss, correct, answers) = now, sums.tolist()
            text = f"loss {loss / max(answers, 1):.3f}  accuracy {correct / max(answers, 1):.1%}"
        advance(len(batch.label) * ctx.world.size, text)
    figures = [0.0, 0.0, 0.0] if sums is None else sums.tolist()
    loss, correct, answers = ctx.world.all_reduce_sum(*figures)
    return TrainedEpoch(loss / max(answers, 1), correct / max(answers, 1), waited_s)


def _line(epoch: Epoch, epochs: int, *, is_best: bool) -> str:
    return (
        f"Epoch {epoch.number:>3}/{epochs}  loss {epoch.loss:.4f}  "
        f"validation accuracy {epoch.validation_accuracy:6.2%}{' *' if is_best else '  '}  "
        f"{epoch.samples_per_s:5.0f} images/s  "
        f"{(epochs - epoch.number) * epoch.seconds:4.0f} s left"
    )
