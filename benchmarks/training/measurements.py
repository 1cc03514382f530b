"""Configuration, shared services and measurements of the training benchmark."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import torch

from augrank.contracts.run import BackboneName
from augrank.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Normalizer
from augrank.reporting import Reporter
from training.backbone.loader import BatchLoader, ImageSet
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig
from training.data.dataset import Dataset
from training.data.recommend_dataset import (
    RecommendDataset,
    load_dataset,
    read_manifest,
)

BATCH, GPU_BATCH = 64, 256
LONG_RUN_EPOCHS = 100  # for which torch.compile is chosen as in a long run


@dataclass(frozen=True)
class TrainingBenchConfig:
    """The amount of work: backbones, sizes, rounds and durations."""

    quick: bool
    rounds: int
    backbones: tuple[BackboneName, ...]
    sizes: tuple[int, ...]  # pixels
    images: int  # originals
    turn_s: float  # of training; embeddings take as long or longer
    epochs: int  # of a whole run
    runs: int  # whole runs of fit and of the plain script


FULL = TrainingBenchConfig(
    quick=False,
    rounds=5,
    backbones=("resnet18", "resnet34", "resnet50"),
    sizes=(96, 224),
    images=400,
    turn_s=3.0,
    epochs=10,
    runs=3,
)
QUICK = TrainingBenchConfig(
    quick=True,
    rounds=3,
    backbones=("resnet18",),
    sizes=(96,),
    images=120,
    turn_s=1.5,
    epochs=3,
    runs=1,
)


NORMALIZER = Normalizer(IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class TrainingBench:
    """The configuration and services that every part of the benchmark shares."""

    config: TrainingBenchConfig
    device: Device
    images: Path  # folder of rendered originals
    scratch: Path
    reporter: Reporter

    @property
    def batch_size(self) -> int:
        """A batch that fills the device."""
        return batch_size(self.device)


@dataclass
class BackboneMeasurement:
    """Measurements of one backbone at one size; rates in images per second, by turn."""

    backbone: BackboneName
    size: int  # pixels
    synthetic: list[float] = field(default_factory=list)  # training repeatedly on one batch
    real: list[float] = field(default_factory=list)  # training from a warm image cache
    cold: list[float] = field(default_factory=list)  # an epoch from files, by round
    waiting: list[float] = field(default_factory=list)  # share of a real turn spent on input
    embed: list[float] = field(default_factory=list)  # int8, for the heads that serve
    embed_fp32: list[float] = field(default_factory=list)  # in the precision of training
    eager: list[float] = field(default_factory=list)
    peak_mb: float = 0.0  # memory of a separate process
    compiled: bool = False  # whether torch.compile was used


@dataclass
class LoaderMeasurement:
    """Measurements of the input path at one size; images per second, by round."""

    size: int  # pixels
    warm: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    imagefolder: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class CompileMeasurement:
    """Training with torch.compile and eager training, on one batch."""

    backbone: BackboneName
    size: int  # pixels
    first_step_s: float  # includes compiling
    compiled: list[float]  # images per second, by round
    eager: list[float]


def with_device_sizes(config: TrainingBenchConfig) -> TrainingBenchConfig:
    """On a GPU, put the largest image size first, so that the ratios refer to it."""
    if not torch.cuda.is_available():
        return config
    return replace(config, sizes=tuple(sorted(config.sizes, reverse=True)))


def choose_device(threads: int) -> Device:
    """Choose the device that ``fit`` would choose, on these threads."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # the loader has its own threads
    return Device.choose("auto", "auto")


def load_images(images: Path, scratch: Path, size: int) -> RecommendDataset:
    """Decode and split a folder of images as ``fit`` does."""
    config = FitConfig(
        images=images, out=scratch / f"{size}", cache=scratch / "cache", image_size=size
    )
    return load_dataset(config, read_manifest(config), TrainContext())


def batch_size(device: Device) -> int:
    """Return a batch size that fills the device."""
    return GPU_BATCH if device.is_cuda else BATCH


def batches_of(data: Dataset, size: int, device: Device) -> BatchLoader:
    """Return the loader of training with batches of this size."""
    images = ImageSet(data.images.pixels, data.augmentations, NORMALIZER)
    ctx = TrainContext(device=device)
    return BatchLoader(images, ctx, batch_size=size, threads=data.threads)
