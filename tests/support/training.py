"""A tiny data set, and the losses of a network trained on it in any number of processes."""

from pathlib import Path

import numpy as np
import torch

from augrank.images.augmentations import augmentation_set
from augrank.images.preprocess import Normalizer
from tests.support.shapes import draw
from training.backbone.crops import RandomCrops
from training.backbone.loader import BatchLoader, ImageSet
from training.backbone.model import Backbone
from training.backbone.optimizer import BackboneOptimizer
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig
from training.data.samples import Samples
from training.distributed.world import World

AUGMENTATIONS = augmentation_set("seed")
CPU = Device("cpu", "fp32")
CONFIG = FitConfig(manifest=Path("m.csv"), out=Path("r"), epochs=3, batch_size=16, image_size=32,
                   learning_rate=0.02)  # fmt: skip
PIXELS = np.stack([draw(number, 32) for number in range(12)])
STEPS = 4
# Sums in another order, over four steps of SGD in float32: a hundred times what was seen.
SAME_MATHS = 1e-5


def samples(files: range) -> Samples:
    file, label = np.repeat(np.array(files), 6), np.tile(np.arange(6), len(files))
    return Samples(file, label, label)


def made(device: Device = CPU, ours: World = World(), pieces: int = 1):
    images = ImageSet(PIXELS, AUGMENTATIONS, Normalizer((0.8,) * 3, (0.3,) * 3))
    ctx = TrainContext(world=ours, device=device)
    batches = BatchLoader(images, ctx, batch_size=16, threads=1)
    return batches.shuffled(
        samples(range(11)), RandomCrops(0, flip=True), epoch=1, micro_batches=pieces
    )


def losses(ours: World, pieces: int, *, fixed: bool = False) -> list[float]:
    """Return the mean loss of every batch of 16, over all processes and micro-batches.

    With ``fixed``, batch normalisation uses its running statistics, not those of the batch.
    """
    backbone = Backbone("resnet18", 6, seed=0).to(memory_format=torch.channels_last)
    config = CONFIG.model_copy(update={"batch_size": 16, "accumulate": pieces})
    learning = BackboneOptimizer(backbone, config, TrainContext(world=ours), steps=STEPS)
    learning.train()
    if fixed:
        learning._network.eval()
    seen, summed, count = [], 0.0, 0
    for batch in made(ours=ours, pieces=pieces):
        summed, count = summed + float(learning.step(batch)[0]), count + len(batch.label)
        if batch.completes:
            total, of = ours.all_reduce_sum(summed, count)
            seen.append(total / of)
            summed, count = 0.0, 0
    return seen


def losses_on_gpus(ours: World, device: str = "cuda") -> list[float]:
    """Return the mean loss of every batch of 16, with batch normalisation over all processes."""
    ctx = TrainContext(world=ours, device=Device.choose(device, "fp32"))
    backbone = Backbone("resnet18", 6, seed=0)
    backbone = backbone.to(ctx.device.torch_device, memory_format=torch.channels_last)
    config = CONFIG.model_copy(update={"batch_size": 16, "sync_bn": ctx.device.is_cuda})
    learning = BackboneOptimizer(backbone, config, ctx, steps=STEPS)
    learning.train()
    seen = []
    for batch in made(ctx.device, ours):
        loss = float(learning.step(batch)[0])
        total, count = ours.all_reduce_sum(loss, len(batch.label))
        seen.append(total / count)
    learning.close()
    return seen
