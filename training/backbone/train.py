"""The backbone learns from prepared data: what ``fit`` does first, and all of a tuning trial."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from augrank.errors import DataError
from augrank.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Normalizer
from training.backbone.checkpoint import Checkpoints, Epoch
from training.backbone.compile import wanted
from training.backbone.crops import Jitter, may_flip
from training.backbone.loader import BatchLoader, ImageSet
from training.backbone.model import LAST_LAYER, Backbone, load_weights
from training.backbone.optimizer import check_device
from training.backbone.trainer import Recognition, recognise
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig
from training.data.dataset import Dataset
from training.data.image_cache.store import decoder
from training.data.samples import Channels, channel_statistics
from training.data.splits import TRAIN, VALIDATION
from training.distributed.world import World
from training.run.folder import installed_versions, record_of


@dataclass(frozen=True)
class Learned:
    """A trained backbone and what its images are normalised by."""

    backbone: Backbone
    recognition: Recognition
    mean: Channels
    std: Channels
    start: str  # what its weights started from

    def digest(self, size: int, device: Device) -> str:
        """Of what decides its features of an image, besides the image and its augmentation."""
        versions = sorted(installed_versions().items())
        facts = self.mean, self.std, size, decoder(), device.name, versions
        digest = hashlib.sha256(repr(facts).encode())
        for name, value in self.backbone.plain_state().items():
            if name not in LAST_LAYER:
                digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def batches(self, data: Dataset, batch_size: int, ctx: TrainContext) -> BatchLoader:
        """Batches as the backbone expects them."""
        return _batches(data, self.mean, self.std, batch_size, ctx)


def use_threads(count: int) -> None:
    """Let networks use this many threads; images are made by threads of our own."""
    torch.set_num_threads(count)
    cv2.setNumThreads(1)


def check_options(config: FitConfig, world: World = World()) -> None:
    """What training would refuse, told before images are decoded and a run's folder is begun.

    Args:
        config: the options.
        world: the processes that train together.

    Raises:
        DataError: options do not fit the device, the processes or each other, or the weights cannot
            be read.
    """
    device = Device.choose(config.device, config.precision)
    _check_batch(config, world)
    check_device(config, device)
    wanted(config, device, 0, world.size)
    load_weights(Backbone(config.backbone, 1, config.seed), config.backbone, config.weights)


def _check_batch(config: FitConfig, world: World) -> None:
    least = 2 * world.size * config.accumulate
    if config.batch_size < least:
        raise DataError(
            "the batch does not reach all processes",
            expected=f"--batch-size {least} or more for {world.size} processes, each of which "
            f"takes its share in {config.accumulate}",
            got=str(config.batch_size),
        )


def learn(
    data: Dataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Learned:
    """Teach a backbone to tell augmentations apart, or go on after an interrupt.

    Args:
        data: of ``load_dataset``; checkpoints go into its folder.
        ctx: device, progress and the processes that train together.
        on_epoch: told of every epoch, those of before an interrupt first.

    Raises:
        DataError: the batch is too small for the processes.
    """
    config, train, world = data.config, data.samples(TRAIN), ctx.world
    _check_batch(config, world)
    backbone = Backbone(config.backbone, len(data.augmentations.names), config.seed)
    start = load_weights(backbone, config.backbone, config.weights)
    if config.freeze:
        backbone.freeze()
        start += ", of which the last layer alone learns"
    mean, std, source = world.broadcast(_channels(data, world))  # as weights are the leader's
    start += source
    flip = may_flip(data.augmentations) if config.flip == "auto" else config.flip
    together = f", {world.size} processes" if world.size > 1 else ""
    ctx.reporter.say(
        f"{start}; {len(train):,} training images an epoch ({ctx.device.name}, "
        f"{config.image_size} px{together})"
    )
    recognition = recognise(
        backbone,
        _batches(data, mean, std, config.batch_size, ctx),
        train,
        data.samples(VALIDATION),
        config,
        jitter=Jitter(config.seed, flip),
        checkpoints=Checkpoints(data.folder.checkpoints),
        ctx=ctx,
        on_epoch=on_epoch,
    )
    return Learned(backbone, recognition, mean, std, start)


def _channels(data: Dataset, world: World) -> tuple[Channels, Channels, str]:
    """Mean and standard deviation that images are normalised by; whose they are, for the user.

    Trained weights expect those that they were trained with.
    """
    weights = data.config.weights
    if weights == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD, ""
    if weights != "none":
        if (record := record_of(Path(weights))) is not None:
            return tuple(record["mean"]), tuple(record["std"]), ", normalised as in that run"
        return IMAGENET_MEAN, IMAGENET_STD, ", normalised by ImageNet's figures"
    mean, std = channel_statistics(
        data.images.pixels,
        data.augmentations,
        data.samples(TRAIN),
        threads=data.threads,
        world=world,
    )
    return mean, std, ""


def _batches(
    data: Dataset, mean: Channels, std: Channels, batch_size: int, ctx: TrainContext
) -> BatchLoader:
    images = ImageSet(data.images.pixels, data.augmentations, Normalizer(mean, std))
    return BatchLoader(images, ctx, batch_size=batch_size, threads=data.threads)
