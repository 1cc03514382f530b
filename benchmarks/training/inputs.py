"""The input path alone: ours, cold and warm, against ImageFolder with PIL and torchvision."""

import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from augrank.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Normalizer
from augrank.reporting import NullReporter
from training.backbone.crops import RandomCrops
from training.backbone.loader import BatchLoader, ImageSet
from training.common.context import TrainContext
from training.common.device import Device
from training.data.dataset import Dataset
from training.data.image_cache.sources import CacheOptions, decode_all
from training.data.samples import Samples

QUIET = NullReporter()
WARM_S = 1.0  # at least
LEAST_BATCHES = 4  # of a worker of the peer, an epoch


def batches_of(data: Dataset, batch_size: int, device: Device) -> BatchLoader:
    """As training has them."""
    images = ImageSet(
        data.images.pixels, data.augmentations, Normalizer(IMAGENET_MEAN, IMAGENET_STD)
    )
    ctx = TrainContext(device=device)
    return BatchLoader(images, ctx, batch_size=batch_size, threads=data.threads)


def ours_warm(data: Dataset, samples: Samples, batch_size: int, device: Device) -> float:
    """Images a second of whole epochs, nothing trained."""
    epochs, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < WARM_S:
        _epoch(data, samples, batch_size, device)
        epochs += 1
    return epochs * len(samples) / seconds


def _epoch(data: Dataset, samples: Samples, batch_size: int, device: Device) -> None:
    loader = batches_of(data, batch_size, device)
    for _ in loader.shuffled(samples, RandomCrops(0, flip=False), epoch=1):
        pass
    if device.is_cuda:
        torch.cuda.synchronize()


def ours_cold(
    data: Dataset, samples: Samples, batch_size: int, device: Device, scratch: Path
) -> float:
    """The same from nothing: every file of the epoch read, hashed and decoded first."""
    start = time.perf_counter()
    decode_anew(data, samples, scratch)
    _epoch(data, samples, batch_size, device)
    return len(samples) / (time.perf_counter() - start)


def decode_anew(data: Dataset, samples: Samples, scratch: Path) -> None:
    """What a first run does before its first epoch: fill a store that is empty."""
    shutil.rmtree(scratch, ignore_errors=True)
    files = [data.manifest.files[number] for number in np.unique(samples.file)]
    decode_all(
        files, data.manifest.images, data.config.image_size, CacheOptions(scratch),
        threads=data.threads, reporter=QUIET,
    )  # fmt: skip


class ImageFolderPeer:
    """torchvision's own way: a file decoded by PIL for every sample, one worker for each core.

    It resizes, shifts and zooms as ours does; of augmentations it knows none, so ours does more.

    Args:
        images: a folder of folders of images.
        size: side, pixels.
        batch_size: of a batch.
        workers: processes.
    """

    def __init__(self, images: Path, size: int, batch_size: int, workers: int) -> None:
        transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.RandomAffine(0, (0.025, 0.025), (0.95, 1.05), fill=255),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )
        files = ImageFolder(str(images), transform)
        # Every worker should have a few batches, however few images there are.
        again = math.ceil(LEAST_BATCHES * workers * batch_size / len(files))
        self._loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
            ConcatDataset([files] * again), batch_size, shuffle=True, num_workers=workers,
            persistent_workers=True,
        )  # fmt: skip

    def rate(self, least_s: float) -> float:
        """Images a second, over whole epochs until some time has passed."""
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < least_s:
            done += sum(len(labels) for _, labels in self._batches())
        return done / (time.perf_counter() - start)

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from self._loader
