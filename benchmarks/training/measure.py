"""Measures parts of training in turns: ceiling, real thing, embeddings, loader, torch.compile."""

import itertools
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from augrank.resources import usable_cores
from benchmarks.training.inputs import (
    ImageFolderPeer,
    batches_of,
    decode_anew,
    ours_cold,
    ours_warm,
)
from training.backbone.crops import RandomCrops
from training.backbone.embed import embed, pair_keys
from training.backbone.loader import EVALUATION_BATCH, TrainingBatch
from training.backbone.model import Backbone
from training.backbone.optimizer import BackboneOptimizer
from training.backbone.train import use_threads
from training.backbone.trainer import train_epoch
from training.common.context import TrainContext
from training.common.device import Device
from training.config import Architecture, FitConfig
from training.data.dataset import Dataset, load_dataset, read_manifest
from training.data.samples import Samples
from training.data.splits import TRAIN

Note = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    quick: bool
    rounds: int
    backbones: tuple[Architecture, ...]
    sizes: tuple[int, ...]  # pixels
    images: int  # originals
    turn_s: float  # of training; embeddings take as long or longer
    epochs: int  # of a whole run
    runs: int  # whole runs, ours and the plain script's


FULL = Effort(False, 5, ("resnet18", "resnet34", "resnet50"), (96, 224), 400, 3.0, 10, 3)
QUICK = Effort(True, 3, ("resnet18",), (96,), 120, 1.5, 3, 1)
BATCH, GPU_BATCH = 64, 256
LEAST_BATCHES = 2  # of a turn
PEAK_BATCHES = 8  # after which memory grows no more
ROUND_S = 16.0  # at least, of turns of both ways, where it need not be quick
COMPILED_STEPS = 8
NO_FLIP = RandomCrops(0, flip=False)


@dataclass
class Seen:
    """What was measured of one backbone at one size; by turn, and cold by round."""

    backbone: Architecture
    size: int
    synthetic: list[float] = field(default_factory=list)  # images a second
    real: list[float] = field(default_factory=list)  # from a store that is filled
    cold: list[float] = field(default_factory=list)  # an epoch from files
    waiting: list[float] = field(default_factory=list)  # share of a real turn
    embed: list[float] = field(default_factory=list)
    eager: list[float] = field(default_factory=list)
    peak_mb: float = 0.0  # of memory, of a process that does nothing else
    compiled: bool = False  # training, by torch.compile


@dataclass
class SeenInput:
    """What was measured of the input path at one size; images a second, by round."""

    size: int
    warm: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    imagefolder: list[float] = field(default_factory=list)


def prepared(images: Path, scratch: Path, size: int) -> Dataset:
    """Decoded, split data, as ``fit`` prepares it."""
    config = FitConfig(
        images=images, out=scratch / f"{size}", cache=scratch / "cache", image_size=size
    )
    return load_dataset(config, read_manifest(config), TrainContext())


def batch_size(device: Device) -> int:
    """That fills the device."""
    return GPU_BATCH if device.is_cuda else BATCH


def measure_backbone(
    data: Dataset,
    images: Path,
    scratch: Path,
    backbone: Architecture,
    device: Device,
    effort: Effort,
    note: Note,
) -> Seen:
    """Training on images against training on tensors that are there already; embeddings."""
    seen = Seen(backbone, data.config.image_size)
    config = data.config.model_copy(update={"backbone": backbone, "epochs": 100})
    batch, crops = batch_size(device), NO_FLIP
    count = len(data.augmentations.names)
    train = _part(data.samples(TRAIN), LEAST_BATCHES * batch)
    network = Backbone(backbone, count, 0).to(device.torch_device)
    network = network.to(memory_format=torch.channels_last)
    optimizer = BackboneOptimizer(network, config, TrainContext(device=device), steps=1000)
    batches = batches_of(data, batch, device)
    made = next(batches.shuffled(train, crops, 1))

    def learn(source: Iterator[TrainingBatch]) -> tuple[float, float]:
        """Seconds, and those of them that it waited for images."""
        start = time.perf_counter()
        trained = train_epoch(optimizer, source, TrainContext(), _silent)
        return time.perf_counter() - start, trained.waited_s

    def synthetic() -> float:
        """The same batch again and again: what the arithmetic can do."""
        return learn(itertools.repeat(made, len(train) // batch))[0]

    def real() -> float:
        seconds, waited_s = learn(batches.shuffled(train, crops, 1))
        seen.waiting.append(waited_s / seconds)
        return seconds

    def cold() -> float:
        """An epoch on whole originals, whose files are decoded first."""
        start = time.perf_counter()
        decode_anew(data, whole, scratch / "cold")
        learn(batches.shuffled(whole, crops, 1))
        return time.perf_counter() - start

    synthetic()  # warms up
    batches_a_turn = math.ceil(effort.turn_s / synthetic() * LEAST_BATCHES)
    train = _part(data.samples(TRAIN), max(LEAST_BATCHES, batches_a_turn) * batch)
    originals = -(-len(train) // count)
    whole = data.samples(TRAIN)
    whole = whole[np.arange(min(originals * count, len(whole)))]
    real()
    seen.waiting.clear()
    seen.compiled = optimizer.is_compiled
    seen.peak_mb = peak_mb(images, scratch, seen.size, backbone)
    plain = _plain(backbone, device)
    keys = pair_keys(train.file, train.applied, count)
    seconds = _embed(data, network, keys, device)
    keys = np.resize(keys, max(len(keys), math.ceil(effort.turn_s / seconds * len(keys))))
    for number in range(effort.rounds):
        note(f"{backbone}, {seen.size} px: round {number + 1} of {effort.rounds}")
        turns = partial(_in_turns, quick=effort.quick, backwards=number % 2 == 1)
        for taken in turns({"synthetic": synthetic, "real": real}):
            seen.synthetic.append(len(train) / taken["synthetic"])
            seen.real.append(len(train) / taken["real"])
        seen.cold.append(len(whole) / cold())
        embedding = partial(_embed, data, network, keys, device)
        for taken in turns(
            {"embed": embedding, "eager": partial(_embed_eagerly, data, plain, keys, device)}
        ):
            seen.embed.append(len(keys) / taken["embed"])
            seen.eager.append(len(keys) / taken["eager"])
    return seen


@dataclass(frozen=True)
class SeenCompiled:
    """Training by torch.compile beside training as it comes, on one batch."""

    backbone: Architecture
    size: int
    first_step_s: float  # which compiles
    compiled: list[float]  # images a second, by round
    eager: list[float]


def measure_compiled(
    data: Dataset, backbone: Architecture, device: Device, effort: Effort, note: Note
) -> SeenCompiled:
    """Whether torch.compile pays on this machine."""
    note(f"{backbone}, {data.config.image_size} px: torch.compile")
    network = Backbone(backbone, len(data.augmentations.names), 0).to(device.torch_device)
    network = network.to(memory_format=torch.channels_last)
    batches = batches_of(data, batch_size(device), device)
    batch = next(batches.shuffled(data.samples(TRAIN), NO_FLIP, 1))
    rates: dict[bool, list[float]] = {True: [], False: []}
    ways = {
        compiled: BackboneOptimizer(
            network,
            data.config.model_copy(update={"compile": compiled}),
            TrainContext(device=device),
            steps=1000,
        )
        for compiled in rates
    }

    def rate(compiled: bool, steps: int) -> float:
        ways[compiled].train()
        start = time.perf_counter()
        for _ in range(steps):
            figures = ways[compiled].step(batch)
        figures.tolist()  # which waits for the device
        return steps * len(batch.label) / (time.perf_counter() - start)

    first_step_s = len(batch.label) / rate(True, 1)
    for _ in range(effort.rounds):
        for compiled, seen in rates.items():
            seen.append(rate(compiled, COMPILED_STEPS))
    return SeenCompiled(backbone, data.config.image_size, first_step_s, rates[True], rates[False])


def measure_input(
    data: Dataset, images: Path, scratch: Path, device: Device, effort: Effort, note: Note
) -> SeenInput:
    """The loader alone."""
    seen, samples = SeenInput(data.config.image_size), data.samples(TRAIN)
    batch = batch_size(device)
    peer = ImageFolderPeer(images, seen.size, batch, usable_cores())
    peer.rate(0.1)  # its processes start
    ours_warm(data, samples, batch, device)
    for number in range(effort.rounds):
        note(f"loader, {seen.size} px: round {number + 1} of {effort.rounds}")
        seen.warm.append(ours_warm(data, samples, batch, device))
        seen.imagefolder.append(peer.rate(1.0 if effort.quick else 3.0))
        seen.cold.append(ours_cold(data, samples, batch, device, scratch / "cold"))
    return seen


def _in_turns(
    ways: Mapping[str, Callable[[], float]], *, quick: bool, backwards: bool
) -> Iterator[dict[str, float]]:
    """Seconds of each, one after another: what else the machine does meets neighbours alike."""
    order = [*ways][:: -1 if backwards else 1]
    start = time.perf_counter()
    while True:
        yield {name: ways[name]() for name in order}
        if quick or time.perf_counter() - start >= ROUND_S:
            return


def _silent(count: int = 1, text: str = "") -> None:
    """Progress that nobody watches."""


def _part(samples: Samples, count: int) -> Samples:
    """As many samples, drawn evenly, again where there are too few."""
    rng = np.random.default_rng(0)
    return samples[np.resize(rng.permutation(len(samples)), count)]


def _plain(backbone: Architecture, device: Device) -> nn.Module:
    """torchvision's network that gives features, as it comes."""
    network = getattr(torchvision.models, backbone)()
    network.fc = nn.Identity()
    return cast(nn.Module, network.to(device.torch_device).eval())


def _embed(data: Dataset, network: Backbone, keys: NDArray[np.int64], device: Device) -> float:
    """As ``fit`` does it for the heads; seconds."""
    batches, count = batches_of(data, EVALUATION_BATCH, device), len(data.augmentations.names)
    start = time.perf_counter()
    for _ in embed(network, batches, keys, count, ctx=TrainContext(device=device)):
        pass
    return time.perf_counter() - start


@torch.inference_mode()
def _embed_eagerly(
    data: Dataset, network: nn.Module, keys: NDArray[np.int64], device: Device
) -> float:
    """The same images by torch as it comes: float32, channels first; seconds."""
    count = len(data.augmentations.names)
    samples = Samples(keys // count, keys % count, keys % count)
    start = time.perf_counter()
    batches = batches_of(data, BATCH, device.in_fp32()).in_order(samples)
    torch.cat([network(batch.contiguous()).cpu() for batch in batches])
    return time.perf_counter() - start


def peak_mb(images: Path, scratch: Path, size: int, backbone: Architecture) -> float:
    """Memory of training at its most, of the GPU or of a process of its own; MB.

    Args:
        images: the folder.
        scratch: holds its decoded images.
        size: side, pixels.
        backbone: of the run.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        return apart.submit(_peak_mb, images, scratch, size, backbone).result()


def _peak_mb(images: Path, scratch: Path, size: int, backbone: Architecture) -> float:
    device = start(usable_cores())
    data = prepared(images, scratch, size)
    batch = batch_size(device)
    network = Backbone(backbone, len(data.augmentations.names), 0).to(device.torch_device)
    optimizer = BackboneOptimizer(
        network.to(memory_format=torch.channels_last),
        data.config.model_copy(update={"backbone": backbone, "epochs": 100}),
        TrainContext(device=device), steps=1000,
    )  # fmt: skip
    train = _part(data.samples(TRAIN), PEAK_BATCHES * batch)
    batches = batches_of(data, batch, device).shuffled(train, NO_FLIP, 1)
    train_epoch(optimizer, batches, TrainContext(), _silent)
    if device.is_cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10


def start(threads: int) -> Device:
    """The device that ``fit`` would choose, on these threads."""
    use_threads(threads)
    return Device.choose("auto", "auto")
