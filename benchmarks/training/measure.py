"""Parts of training in turns: synthetic ceiling, real images, embeddings, torch.compile.

    python -m benchmarks training [--quick] [--backbones resnet18] [--sizes 96,224]

How close does training come to what the machine can do? Synthetic repeats the training step on one
batch, so it measures only the arithmetic; real adds the loader, augmentations and normalisation
from a warm image cache; cold adds reading and decoding every file. All alternate in one run, so
that their ratios do not depend on the load of the machine. The embeddings that heads learn from are
timed against torchvision's unmodified network in float32.

The JSON line holds ``ratios`` (of the first backbone and size), a row for each of ``backbones`` and
``inputs``, ``runs`` (whole runs against a plain script), ``scaling`` (more processes), and, outside
of quick runs, ``compiled`` and, on a GPU, ``job``.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from augrank.contracts.run import BackboneName
from benchmarks.common.network import torchvision_network, with_features
from benchmarks.training.inputs import fill_image_cache
from benchmarks.training.measurements import (
    BATCH,
    NORMALIZER,
    BackboneMeasurement,
    CompileMeasurement,
    TrainingBench,
    batches_of,
)
from benchmarks.training.memory import peak_mb
from benchmarks.training.timed_trainer import TimedTrainer, sample
from training.backbone.embed import Embedder, TorchEmbedder, embed, pair_keys
from training.backbone.loader import EVALUATION_BATCH
from training.backbone.model import Backbone
from training.common.context import TrainContext
from training.common.threads import FreeThreads
from training.data.dataset import Dataset
from training.data.samples import Samples
from training.data.splits import TRAIN
from training.graphs.embedder import GraphEmbedder
from training.graphs.onnx_graphs import load_network, write_fp32, write_int8
from training.graphs.write import calibration_batches

MIN_BATCHES = 2  # of a turn
ROUND_S = 16.0  # least duration of the turns of a round, unless the run is quick
COMPILED_STEPS = 8


def measure_backbone(
    data: Dataset, backbone: BackboneName, bench: TrainingBench
) -> BackboneMeasurement:
    """Measure training and embeddings of one backbone at one size."""
    measured = BackboneMeasurement(backbone, data.config.image_size)
    trainer = TimedTrainer(data, backbone, bench.device)
    turns = _TrainingTurns(data, trainer, bench)
    measured.compiled = trainer.optimizer.is_compiled  # known after the first steps
    embedding = _EmbeddingTurns(data, trainer, turns.samples, bench)
    measured.peak_mb = peak_mb(bench.images, bench.scratch, measured.size, backbone)
    rounds = bench.config.rounds
    for number in range(rounds):
        bench.reporter.say(f"{backbone}, {measured.size} px: round {number + 1} of {rounds}")
        alternate = partial(_alternate, quick=bench.config.quick, reverse=number % 2 == 1)
        for seconds in alternate({"synthetic": turns.synthetic, "real": turns.real}):
            measured.synthetic.append(len(turns.samples) / seconds["synthetic"])
            measured.real.append(len(turns.samples) / seconds["real"])
        measured.cold.append(len(turns.originals) / turns.cold())
        for seconds in alternate(embedding.turns):
            measured.embed.append(len(embedding.keys) / seconds["int8"])
            measured.embed_fp32.append(len(embedding.keys) / seconds["fp32"])
            measured.eager.append(len(embedding.keys) / seconds["eager"])
    measured.waiting = turns.waiting
    return measured


class _TrainingTurns:
    """Turns of training, each returning its seconds; warmed up and long enough at construction."""

    def __init__(self, data: Dataset, trainer: TimedTrainer, bench: TrainingBench) -> None:
        self._data, self._trainer = data, trainer
        self._cold_cache = bench.scratch / "cold"
        everything, batch = data.samples(TRAIN), bench.batch_size
        self.samples = sample(everything, MIN_BATCHES * batch)
        self.synthetic()  # warm-up
        batches = math.ceil(bench.config.turn_s / self.synthetic() * MIN_BATCHES)
        self.samples = sample(everything, max(MIN_BATCHES, batches) * batch)
        self.originals = _whole_originals(everything, len(self.samples), data)
        self.waiting: list[float] = []  # share of each real turn
        self.real()
        self.waiting.clear()

    def synthetic(self) -> float:
        """Train repeatedly on one batch."""
        return self._trainer.train(self._trainer.synthetic(len(self.samples)))[0]

    def real(self) -> float:
        """Train from a warm image cache."""
        seconds, waited_s = self._trainer.train(self._trainer.load(self.samples))
        self.waiting.append(waited_s / seconds)
        return seconds

    def cold(self) -> float:
        """Train for an epoch of whole originals, whose files are decoded first."""
        start = time.perf_counter()
        fill_image_cache(self._data, self.originals, self._cold_cache)
        self._trainer.train(self._trainer.load(self.originals))
        return time.perf_counter() - start


def _whole_originals(samples: Samples, count: int, data: Dataset) -> Samples:
    """Return the first originals with all their candidates: at least ``count`` if available."""
    candidates = len(data.augmentations.names)
    originals = -(-count // candidates)
    return samples[np.arange(min(originals * candidates, len(samples)))]


class _EmbeddingTurns:
    """Turns of embedding the same images, each returning seconds.

    ``fit`` embeds with each graph that will serve; eager torch is what a user would write.
    """

    def __init__(
        self, data: Dataset, trainer: TimedTrainer, samples: Samples, bench: TrainingBench
    ) -> None:
        self._data, self._device = data, bench.device
        self._candidates = len(data.augmentations.names)
        eager = torchvision_network(trainer.backbone, self._candidates)
        self._eager: nn.Module = with_features(eager).to(bench.device.torch_device)
        self.keys: NDArray[np.int64] = pair_keys(samples.file, samples.applied, self._candidates)
        int8 = _int8_embedder(trainer.network, trainer.backbone, data, bench)
        exact = TorchEmbedder(trainer.network, bench.device)
        self.turns: dict[str, Callable[[], float]] = {
            "int8": partial(self._fit, int8),
            "fp32": partial(self._fit, exact),
            "eager": self.eager,
        }
        repeats = bench.config.turn_s / self._fit(int8)
        count = max(len(self.keys), math.ceil(repeats * len(self.keys)))
        self.keys = np.resize(self.keys, count)

    def _fit(self, embedder: Embedder) -> float:
        """Embed as ``fit`` does for the heads."""
        batches, ctx = batches_of(self._data, EVALUATION_BATCH, self._device), TrainContext()
        start = time.perf_counter()
        for _ in embed(embedder, batches, self.keys, self._candidates, ctx):
            pass
        return time.perf_counter() - start

    @torch.inference_mode()
    def eager(self) -> float:
        """Embed with torchvision's network: float32, channels first."""
        applied = self.keys % self._candidates
        samples = Samples(self.keys // self._candidates, applied, applied)
        start = time.perf_counter()
        batches = batches_of(self._data, BATCH, self._device.in_fp32()).in_order(samples)
        torch.cat([self._eager(batch.contiguous())["features"].cpu() for batch in batches])
        return time.perf_counter() - start


def _int8_embedder(
    network: Backbone, backbone: BackboneName, data: Dataset, bench: TrainingBench
) -> GraphEmbedder:
    """Quantize a network as ``fit`` does, and open it with all of torch's threads."""
    fp32, int8 = bench.scratch / "fp32.onnx", bench.scratch / "int8.onnx"
    write_fp32(load_network(backbone, network.plain_state()), data.config.image_size, fp32)
    write_int8(fp32, int8, calibration_batches(data, NORMALIZER))
    return GraphEmbedder(int8, FreeThreads(torch.get_num_threads()))


def measure_compile(
    data: Dataset, backbone: BackboneName, bench: TrainingBench
) -> CompileMeasurement:
    """Measure whether torch.compile is worth it on this machine.

    Raises:
        DataError: torch.compile does not work here.
    """
    size = data.config.image_size
    bench.reporter.say(f"{backbone}, {size} px: torch.compile")
    trainers = {
        compiled: TimedTrainer(data, backbone, bench.device, compiled=compiled)
        for compiled in (True, False)
    }
    batch = trainers[True].one_batch

    def rate(compiled: bool, steps: int) -> float:
        optimizer = trainers[compiled].optimizer
        optimizer.train()
        start = time.perf_counter()
        for _ in range(steps):
            loss_and_hits = optimizer.step(batch)
        loss_and_hits.tolist()  # waits for the device
        return steps * len(batch.label) / (time.perf_counter() - start)

    first_step_s = len(batch.label) / rate(True, 1)
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(bench.config.rounds):
        for compiled, measured in rates.items():
            measured.append(rate(compiled, COMPILED_STEPS))
    return CompileMeasurement(backbone, size, first_step_s, rates[True], rates[False])


def _alternate(
    turns: Mapping[str, Callable[[], float]], *, quick: bool, reverse: bool
) -> Iterator[dict[str, float]]:
    """Yield the seconds of each turn, alternating, so that a busy machine slows all equally."""
    order = [*turns][:: -1 if reverse else 1]
    start = time.perf_counter()
    while True:
        yield {name: turns[name]() for name in order}
        if quick or time.perf_counter() - start >= ROUND_S:
            return
