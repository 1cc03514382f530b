"""Train a backbone on real or synthetic batches and measure the time."""

import itertools
import time
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from augrank.contracts.run import BackboneName
from benchmarks.training.inputs import NO_FLIP
from benchmarks.training.measurements import LONG_RUN_EPOCHS, batch_size, batches_of
from training.backbone.loader import TrainingBatch
from training.backbone.model import Backbone
from training.backbone.optimizer import BackboneOptimizer
from training.backbone.trainer import train_epoch
from training.common.context import TrainContext
from training.common.device import Device
from training.data.dataset import Dataset
from training.data.samples import Samples
from training.data.splits import TRAIN

SCHEDULE_STEPS = 1000  # of the learning rate's schedule; more than are run


class TimedTrainer:
    """Trains a new network with ``fit``'s own optimizer, loader and epoch.

    Args:
        data: decoded images.
        backbone: the network.
        device: trains the network.
        compiled: whether to use torch.compile; by default as in a long run.
    """

    def __init__(
        self,
        data: Dataset,
        backbone: BackboneName,
        device: Device,
        *,
        compiled: bool | None = None,
    ) -> None:
        changes = {"backbone": backbone, "epochs": LONG_RUN_EPOCHS}
        if compiled is not None:
            changes["compile"] = compiled
        network = Backbone(backbone, len(data.augmentations.names), 0).to(device.torch_device)
        self._ctx = TrainContext(device=device)
        self.network = network.to(memory_format=torch.channels_last)
        config = data.config.model_copy(update=changes)
        self.optimizer = BackboneOptimizer(self.network, config, self._ctx, steps=SCHEDULE_STEPS)
        self.backbone = backbone
        self._data, self._batch = data, batch_size(device)
        self._batches = batches_of(data, self._batch, device)

    def train(self, batches: Iterator[TrainingBatch]) -> tuple[float, float]:
        """Train on batches; return total seconds, and seconds spent waiting for images."""
        start = time.perf_counter()
        trained = train_epoch(self.optimizer, batches, self._ctx, _no_progress)
        return time.perf_counter() - start, trained.waited_s

    def real(self, count: int) -> Iterator[TrainingBatch]:
        """Load batches of this many images, drawn evenly and repeated if there are too few."""
        return self.load(sample(self._data.samples(TRAIN), count))

    def load(self, samples: Samples) -> Iterator[TrainingBatch]:
        """Load batches of these samples in random order."""
        return self._batches.shuffled(samples, NO_FLIP, 1)

    def synthetic(self, count: int) -> Iterator[TrainingBatch]:
        """Repeat one batch, which shows what the arithmetic can do."""
        return itertools.repeat(self.one_batch, count // self._batch)

    @cached_property
    def one_batch(self) -> TrainingBatch:
        """A batch that is already on the device."""
        return next(self.real(self._batch))


def sample(samples: Samples, count: int) -> Samples:
    """Draw this many samples evenly, repeated if there are too few."""
    rng = np.random.default_rng(0)
    return samples[np.resize(rng.permutation(len(samples)), count)]


def _no_progress(count: int = 1, text: str = "") -> None:
    """Show nothing."""
