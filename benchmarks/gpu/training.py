"""The rows ``train BACKBONE``: synthetic and real images, waiting for input, embeddings.

The parts are those of ``python -m benchmarks training``, without what needs no GPU: int8 graphs,
cold caches, eager torch, and a second process for the peak of memory.
"""

import math
import time
from dataclasses import dataclass, field

import torch

from augrank.contracts.run import BackboneName
from benchmarks.common.statistics import Median
from benchmarks.gpu.config import Figures, RowContext
from benchmarks.training.measurements import batch_size, batches_of, load_images
from benchmarks.training.timed_trainer import TimedTrainer, sample
from simulation.render import RenderOptions, render_catalogue
from training.backbone.embed import TorchEmbedder, embed, pair_keys
from training.backbone.loader import EVALUATION_BATCH
from training.common.context import TrainContext
from training.common.device import Device
from training.data.dataset import Dataset
from training.data.samples import Samples
from training.data.splits import TRAIN

WARM_UP_BATCHES = 2


@dataclass
class _Rates:
    """Images per second by round, and the share of a real turn spent on input."""

    synthetic: list[float] = field(default_factory=list)
    real: list[float] = field(default_factory=list)
    embed: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)


def measure_training(backbone: BackboneName, context: RowContext) -> Figures:
    """Measure training of one backbone, in the device's fastest safe precision."""
    config = context.config
    torch.set_num_threads(config.threads)
    device = Device.choose(config.device, "auto")
    data = _images(context)
    trainer = TimedTrainer(data, backbone, device)
    samples, first_s = _warm_up(trainer, data, batch_size(device), config.turn_s)
    candidates = len(data.augmentations.names)
    keys = pair_keys(samples.file, samples.applied, candidates)
    rates = _Rates()
    for _ in range(config.rounds):
        seconds, _ = trainer.train(trainer.synthetic(len(samples)))
        rates.synthetic.append(len(samples) / seconds)
        seconds, waited_s = trainer.train(trainer.load(samples))
        rates.real.append(len(samples) / seconds)
        rates.waiting.append(waited_s / seconds)
    embedder = TorchEmbedder(trainer.network, device)
    batches = batches_of(data, EVALUATION_BATCH, device)
    for number in range(config.rounds + 1):
        start = time.perf_counter()
        for _ in embed(embedder, batches, keys, candidates, TrainContext()):
            pass
        if number:  # the first is a warm-up
            rates.embed.append(len(keys) / (time.perf_counter() - start))
    return _figures(backbone, config.size, device, rates) | {
        "compiled": trainer.optimizer.is_compiled,
        "compile_failure": trainer.optimizer.compile_failure,
        "first_steps_s": round(first_s, 2),
        "peak_mb": round(torch.cuda.max_memory_allocated() / 2**20) if device.is_cuda else None,
    }


def _images(context: RowContext) -> Dataset:
    """Render images and decode them; the rows share both."""
    config, folder = context.config, context.scratch / f"train-{context.config.size}"
    render_catalogue("sneaker", config.images, folder, RenderOptions(size=config.rendered_px))
    return load_images(folder / "images", context.scratch, config.size)


def _warm_up(
    trainer: TimedTrainer, data: Dataset, batch: int, turn_s: float
) -> tuple[Samples, float]:
    """Return the images of a turn of about ``turn_s``, and the seconds of the first steps."""
    first_s, _ = trainer.train(trainer.synthetic(WARM_UP_BATCHES * batch))
    seconds, _ = trainer.train(trainer.synthetic(WARM_UP_BATCHES * batch))
    batches = max(WARM_UP_BATCHES, math.ceil(WARM_UP_BATCHES * turn_s / seconds))
    samples = sample(data.samples(TRAIN), batches * batch)
    trainer.train(trainer.real(WARM_UP_BATCHES * batch))
    return samples, first_s


def _figures(backbone: BackboneName, size: int, device: Device, rates: _Rates) -> Figures:
    synthetic, real, embedded = (
        Median.of(values, 1).to_dict() for values in (rates.synthetic, rates.real, rates.embed)
    )
    waiting = Median.of(rates.waiting).to_dict()
    return {
        "backbone": backbone,
        "size": size,
        "precision": device.precision,
        "synthetic": synthetic,
        "real": real,
        "real_over_synthetic": Median.of_ratios(rates.real, rates.synthetic).to_dict(),
        "waiting": waiting,
        "embed": embedded,
        "summary": f"synthetic {synthetic['median']:.0f}, real {real['median']:.0f}, embeddings "
        f"{embedded['median']:.0f} images/s; waits {waiting['median']:.1%}",
    }
