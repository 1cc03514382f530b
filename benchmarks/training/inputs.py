"""The input path alone: augrank's, cold and warm, against ImageFolder with PIL and torchvision."""

import gc
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

from augrank.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from augrank.reporting import NullReporter
from augrank.resources import usable_cores
from benchmarks.training.measurements import LoaderMeasurement, TrainingBench, batches_of
from training.backbone.crops import RandomCrops
from training.common.device import Device
from training.data.dataset import Dataset
from training.data.image_cache.sources import CacheOptions, decode_all
from training.data.samples import Samples
from training.data.splits import TRAIN

WARM_S = 1.0  # least duration
IMAGEFOLDER_S, IMAGEFOLDER_QUICK_S = 3.0, 1.0
MIN_BATCHES = 4  # per worker of ImageFolder's loader and epoch
NO_FLIP = RandomCrops(0, flip=False)


def measure_loader(data: Dataset, bench: TrainingBench) -> LoaderMeasurement:
    """Measure the loader alone, without a network."""
    measured, samples = LoaderMeasurement(data.config.image_size), data.samples(TRAIN)
    batch, device, rounds = bench.batch_size, bench.device, bench.config.rounds
    # A forked worker that frees an engine would wait for its threads, which it does not have.
    gc.collect()
    peer = ImageFolderLoader(bench.images.parent, measured.size, batch, usable_cores())
    peer.rate(0.1)  # starts its processes
    warm_rate(data, samples, batch, device)
    for number in range(rounds):
        bench.reporter.say(f"loader, {measured.size} px: round {number + 1} of {rounds}")
        measured.warm.append(warm_rate(data, samples, batch, device))
        least_s = IMAGEFOLDER_QUICK_S if bench.config.quick else IMAGEFOLDER_S
        measured.imagefolder.append(peer.rate(least_s))
        measured.cold.append(cold_rate(data, samples, bench))
    return measured


def warm_rate(data: Dataset, samples: Samples, batch_size: int, device: Device) -> float:
    """Load whole epochs from a warm image cache; return images per second."""
    epochs, seconds, start = 0, 0.0, time.perf_counter()
    while seconds < WARM_S:
        _load_epoch(data, samples, batch_size, device)
        epochs, seconds = epochs + 1, time.perf_counter() - start
    return epochs * len(samples) / seconds


def cold_rate(data: Dataset, samples: Samples, bench: TrainingBench) -> float:
    """Load an epoch for which every file is read, hashed and decoded first; images per second."""
    start = time.perf_counter()
    fill_image_cache(data, samples, bench.scratch / "cold")
    _load_epoch(data, samples, bench.batch_size, bench.device)
    return len(samples) / (time.perf_counter() - start)


def fill_image_cache(data: Dataset, samples: Samples, cache: Path) -> None:
    """Fill an empty image cache, as a first run does before its first epoch."""
    shutil.rmtree(cache, ignore_errors=True)
    files = [data.manifest.files[number] for number in np.unique(samples.file)]
    decode_all(
        files,
        data.manifest.images,
        data.config.image_size,
        CacheOptions(cache),
        threads=data.threads,
        reporter=NullReporter(),
    )


def _load_epoch(data: Dataset, samples: Samples, batch_size: int, device: Device) -> None:
    for _ in batches_of(data, batch_size, device).shuffled(samples, NO_FLIP, epoch=1):
        pass
    if device.is_cuda:
        torch.cuda.synchronize()


class ImageFolderLoader:
    """torchvision's loader: PIL decodes a file for every sample, with one worker per core.

    It resizes, shifts and zooms as augrank's loader does, but does not augment.

    Args:
        images: a folder of folders of images.
        size: side, pixels.
        batch_size: images of a batch.
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
        # Every worker gets a few batches, however few images there are.
        repeats = math.ceil(MIN_BATCHES * workers * batch_size / len(files))
        self._loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
            ConcatDataset([files] * repeats),
            batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=True,
        )

    def rate(self, least_s: float) -> float:
        """Load whole epochs for at least this long; return images per second."""
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < least_s:
            done += sum(len(labels) for _, labels in self._batches())
        return done / (time.perf_counter() - start)

    def _batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from self._loader
