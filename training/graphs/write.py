"""Write the graphs of a trained backbone: fp32, and int8 calibrated on training images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError
from augrank.files import atomic_write
from augrank.images.preprocess import Normalizer
from augrank.resources import release_memory
from training.backbone.train import TrainedBackbone
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.dataset import Dataset
from training.graphs.embedder import engine_device
from training.graphs.onnx_graphs import load_network, write_fp32, write_int8

CALIBRATION_CANDIDATES = 200  # of training images, for int8
MIN_CALIBRATION_IMAGES = 8


def check_engine(config: FitConfig) -> None:
    """Check that the graphs that the options name can be made here.

    Raises:
        DataError: onnxruntime is missing, which quantizes.
    """
    if "int8" in config.graphs and engine_device() is None:
        raise DataError(
            "the int8 graph cannot be made",
            expected="onnxruntime",
            got="no such package",
            remedy="Install augrank[cpu] or augrank[gpu], or give --graphs fp32.",
        )


def write_graphs(data: Dataset, trained: TrainedBackbone, ctx: TrainContext) -> None:
    """Write the graphs that the options name into the run; only in the main process.

    Args:
        data: its folder receives them.
        trained: the backbone.
        ctx: shows progress.
    """
    config, folder = data.config, data.folder
    fp32 = folder.graph("fp32")
    network = load_network(config.backbone, trained.backbone.plain_state())
    with ctx.reporter.status() as show:
        show("exporting the backbone to ONNX")
        with atomic_write(fp32) as temporary:
            write_fp32(network, config.image_size, temporary)
        if "int8" in config.graphs:
            show("quantizing it to int8, calibrated on training images")
            batches = calibration_batches(data, Normalizer(trained.mean, trained.std))
            with atomic_write(folder.graph("int8")) as temporary:
                write_int8(fp32, temporary, batches)
    del network
    release_memory()  # tracing leaves much of it behind


def calibration_batches(data: Dataset, normalizer: Normalizer) -> Iterator[NDArray[np.float32]]:
    """Yield the normalised candidates of some training originals, float32 (A, 3, S, S) each."""
    candidates = data.augmentations.augmentations
    files = data.training_files()
    images = max(MIN_CALIBRATION_IMAGES, CALIBRATION_CANDIDATES // len(candidates))
    for file in files[:: max(1, len(files) // images)].tolist():
        pixels = np.asarray(data.images.pixels[file])
        yield normalizer.batch([each.apply(pixels) for each in candidates])
