"""Peak memory of training."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from augrank.contracts.run import BackboneName
from augrank.resources import usable_cores
from benchmarks.training.measurements import batch_size, choose_device, load_images
from benchmarks.training.timed_trainer import TimedTrainer

PEAK_BATCHES = 8  # memory no longer grows after these


def peak_mb(images: Path, scratch: Path, size: int, backbone: BackboneName) -> float:
    """Measure the peak memory of training: the GPU's, or that of a separate process; MB.

    Args:
        images: the folder.
        scratch: folder of the decoded images.
        size: side, pixels.
        backbone: the network.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_peak_mb, images, scratch, size, backbone).result()


def _peak_mb(images: Path, scratch: Path, size: int, backbone: BackboneName) -> float:
    device = choose_device(usable_cores())
    trainer = TimedTrainer(load_images(images, scratch, size), backbone, device)
    trainer.train(trainer.real(PEAK_BATCHES * batch_size(device)))
    if device.is_cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
