"""Train the backbone on prepared data: the first step of ``fit``, and all of a tuning trial."""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from augrank.errors import DataError
from augrank.images.preprocess import Normalizer
from training.backbone.architectures import ARCHITECTURES
from training.backbone.checkpoint import Checkpoints
from training.backbone.compile import validate_compile
from training.backbone.crops import RandomCrops, may_flip
from training.backbone.loader import BatchLoader, ImageSet
from training.backbone.model import Backbone, InitialWeights
from training.backbone.objective import Objective
from training.backbone.optimizer import check_device
from training.backbone.trainer import Trainer, TrainingData
from training.common.context import TrainContext
from training.common.device import Device
from training.common.threads import FreeThreads
from training.config import FitConfig
from training.data.dataset import Dataset
from training.data.image_cache.store import decoder
from training.data.samples import Channels, channel_statistics
from training.data.splits import TRAIN, VALIDATION
from training.distributed.world import World
from training.run.curves import CurveWriter, WandbWriter, check_wandb
from training.run.epoch import Epoch, TrainingHistory, ignore_epoch
from training.run.folder import installed_versions, record_of
from training.run.tensorboard import TensorBoardWriter


@dataclass(frozen=True)
class TrainedBackbone:
    """A trained backbone and how its images are normalised."""

    backbone: Backbone
    history: TrainingHistory
    mean: Channels
    std: Channels
    start: str  # source of its initial weights

    def images_digest(self, size: int, embedder: str) -> str:
        """Hash everything that features of an augmented image depend on, besides the image.

        Args:
            size: of the images, in pixels.
            embedder: the digest of what computes them.
        """
        versions = sorted(installed_versions().items())
        facts = self.mean, self.std, size, decoder(), embedder, versions
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def loader(self, data: Dataset, batch_size: int, ctx: TrainContext) -> BatchLoader:
        """Return a loader whose images are normalised for this backbone."""
        return _loader(data, Normalizer(self.mean, self.std), batch_size, ctx)


def use_threads(data: Dataset, ctx: TrainContext) -> TrainContext:
    """Let torch use the cores that are free, and OpenCV one: the loader has its own threads.

    Returns:
        The context, with threads that follow the free cores unless the user gave their number.
    """
    torch.set_num_threads(data.threads)
    cv2.setNumThreads(1)
    fixed = data.config.threads is not None or ctx.device.is_cuda
    return ctx.with_threads(FreeThreads(data.threads, ctx.reporter.say, fixed=fixed))


def check_options(config: FitConfig, world: World) -> InitialWeights:
    """Check the options of training before images are decoded and the run directory is created.

    Args:
        config: the options.
        world: the processes that train together.

    Returns:
        The weights to start from, for ``train_backbone``.

    Raises:
        DataError: options do not fit the device, the processes or each other, or the weights cannot
            be read.
    """
    device = Device.choose(config.device, config.precision)
    _check_batch(config, world)
    check_device(config, device)
    validate_compile(config, world.size)
    check_wandb(config)
    return InitialWeights.load(config.backbone, config.weights)


def _check_batch(config: FitConfig, world: World) -> None:
    least = 2 * world.size * config.accumulate
    if config.batch_size < least:
        raise DataError(
            "the batch is too small for the processes",
            expected=f"--batch-size {least} or more for {world.size} processes, each of which "
            f"divides its shard into {config.accumulate}",
            got=str(config.batch_size),
        )


def train_with_curves(
    data: Dataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None] = ignore_epoch,
    initial: InitialWeights | None = None,
) -> TrainedBackbone:
    """Train a backbone as ``train_backbone`` does, with live curves in TensorBoard and W&B."""
    if not ctx.world.is_main:
        return train_backbone(data, ctx, initial=initial)
    with ExitStack() as stack:
        writers: list[CurveWriter] = [
            stack.enter_context(TensorBoardWriter(data.folder.tensorboard))
        ]
        if data.config.wandb is not None:
            writers.append(stack.enter_context(WandbWriter(data.config)))

        def record(epoch: Epoch) -> None:
            for writer in writers:
                writer.add(epoch)
            on_epoch(epoch)

        return train_backbone(data, ctx, record, initial)


def train_backbone(
    data: Dataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None] = ignore_epoch,
    initial: InitialWeights | None = None,
) -> TrainedBackbone:
    """Train a backbone to answer what the dataset asks, or resume after an interrupt.

    Args:
        data: the result of ``load_dataset``; checkpoints are written to its folder.
        ctx: device, progress and processes.
        on_epoch: called after every epoch, and first for those before an interrupt.
        initial: initial weights from ``check_options``; by default they are loaded here.

    Raises:
        DataError: the batch is too small for the processes, or the weights cannot be read.
    """
    config, world = data.config, ctx.world
    train, validation = data.samples(TRAIN), data.samples(VALIDATION)
    _check_batch(config, world)
    backbone = Backbone(config.backbone, sum(data.classes), config.seed)
    initial = initial or InitialWeights.load(config.backbone, config.weights)
    start = initial.apply(backbone)
    if config.freeze:
        start += ", of which only the last layer is trained"
    elif config.freeze_epochs:
        start += f", of which only the last layer is trained in epochs 1 to {config.freeze_epochs}"
    # Every process uses the initial weights that the main process loaded.
    mean, std, source = world.broadcast(_normalization(data, world))
    start += source
    together = f", {world.size} processes" if world.size > 1 else ""
    ctx.reporter.say(
        f"{start}; {len(train):,} training images per epoch ({ctx.device.name}, "
        f"{config.image_size} px{together})"
    )
    loader = _loader(data, Normalizer(mean, std), config.batch_size, ctx)
    flip = may_flip(data.augmentations) if config.flip == "auto" else config.flip
    objective = Objective.of_labels(
        data.classes, train.label, config.class_weights, config.label_smoothing
    )
    shown = TrainingData(loader, train, validation, RandomCrops(config.seed, flip), objective)
    trainer = Trainer(backbone, shown, config, Checkpoints(data.folder.checkpoints), ctx)
    return TrainedBackbone(backbone, trainer.fit(on_epoch), mean, std, start)


def _normalization(data: Dataset, world: World) -> tuple[Channels, Channels, str]:
    """Return the mean and standard deviation for images, and a note on their source.

    Trained weights expect the normalisation that they were trained with.
    """
    weights = data.config.weights
    architecture = ARCHITECTURES[data.config.backbone]
    if weights == "imagenet":
        return architecture.mean, architecture.std, ""
    if weights != "none":
        if (record := record_of(Path(weights))) is not None:
            return tuple(record["mean"]), tuple(record["std"]), ", normalised as in that run"
        return architecture.mean, architecture.std, ", normalised as ImageNet's weights expect"
    mean, std = channel_statistics(
        data.images.pixels,
        data.augmentations,
        data.samples(TRAIN),
        threads=data.threads,
        world=world,
    )
    return mean, std, ""


def _loader(
    data: Dataset, normalizer: Normalizer, batch_size: int, ctx: TrainContext
) -> BatchLoader:
    images = ImageSet(data.images.pixels, data.augmentations, normalizer)
    return BatchLoader(images, ctx, batch_size=batch_size, threads=data.threads)
