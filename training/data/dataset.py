"""The data of a run, whatever its task: decoded images, and what the network learns of them.

A task's own module beside this one, ``<task>_dataset.py``, reads its manifest and says which images
are in which split. None of them imports torch, which takes seconds, so that a finished run is
recognised at once.
"""

import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from augrank.errors import DataError
from augrank.images.augmentations import AugmentationSet
from augrank.images.look import Look
from augrank.manifest.problems import Table
from augrank.manifest.read import read_table
from augrank.resources import usable_cores
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.duplicates import duplicate_groups
from training.data.embedding_cache import row_name
from training.data.image_cache.sources import CacheOptions, DecodedImages, decode_all
from training.data.manifest.rows import ManifestRows
from training.data.samples import Samples
from training.run.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """The data for training and testing a run."""

    config: FitConfig
    folder: RunFolder
    threads: int  # of this process, when others train on the same machine
    threads_of_machine: int  # of a process that has the machine to itself
    augmentations: AugmentationSet
    manifest: ManifestRows
    images: DecodedImages
    data: str  # sha256 of manifest and images
    copies: int  # images that show the same picture as another one

    @property
    def fingerprint(self) -> str:
        """The sha256 of the decisive options and the data."""
        text = json.dumps(self.config.decisive(), sort_keys=True) + self.augmentations.hash
        return hashlib.sha256((text + self.data).encode()).hexdigest()

    @property
    @abstractmethod
    def classes(self) -> tuple[int, ...]:
        """The number of classes of each question that the network learns to answer."""

    @abstractmethod
    def samples(self, split: int) -> Samples:
        """Return the images that the network learns from, or is tested on, in one split."""

    @abstractmethod
    def training_files(self) -> NDArray[np.int64]:
        """Return the files of the training split as they are, in the order of their names."""

    @abstractmethod
    def reference_files(self, count: int) -> NDArray[np.int64]:
        """Return at most so many files of the test split, which export is compared with."""

    @abstractmethod
    def catalogue(self) -> list[dict[str, str]]:
        """Return the rows of catalogue.csv."""

    @abstractmethod
    def row_counts(self) -> dict[str, Any]:
        """Return the counts of rows for the record and the report."""

    @abstractmethod
    def summary(self) -> str:
        """Describe the data in one line."""

    def pair_names(self, keys: NDArray[np.int64]) -> list[bytes]:
        """Return the embedding cache's names of (file, augmentation) pairs, see ``pair_keys``."""
        hashes = [augmentation.hash for augmentation in self.augmentations.augmentations]
        sha256 = self.images.sha256
        pairs = (divmod(key, len(hashes)) for key in keys.tolist())
        return [row_name(sha256[file], hashes[applied]) for file, applied in pairs]


class TaskData(Protocol):
    """What a module ``training.data.TASK_dataset`` defines."""

    def read_manifest(self, config: FitConfig) -> ManifestRows:
        """Read and validate the manifest of a config."""

    def load_dataset(self, config: FitConfig, manifest: Any, ctx: TrainContext) -> Dataset:
        """Decode the images of a manifest, and split it."""


def task_data(task: str) -> TaskData:
    """Import ``training.data.TASK_dataset``; ``training.tasks.base`` has checked the name."""
    return cast(TaskData, importlib.import_module(f"training.data.{task}_dataset"))


def read_rows_of(config: FitConfig) -> tuple[Table, Path]:
    """Read the manifest of a config; return it, and the folder of its images.

    Raises:
        DataError: the manifest or the images folder is missing or not valid.
    """
    source = config.manifest or config.images
    if source is None:
        raise DataError("there is no manifest", remedy="Give --manifest or --images.")
    images = config.images or (source if source.is_dir() else source.parent)
    if not images.is_dir():
        raise DataError(f"there is no folder {images}", remedy="Check --images.")
    return read_table(source, config.columns), images


def decode_manifest(
    config: FitConfig, manifest: ManifestRows, folder: RunFolder, ctx: TrainContext
) -> DecodedImages:
    """Create the run directory, and decode all images of a manifest.

    The first process of a machine decodes with all threads, the others after it.
    """
    world, threads = ctx.world, config.threads or usable_cores()
    if world.is_main:
        folder.create()
        for note in manifest.notes:
            ctx.reporter.say(f"Manifest: {note}")
    if not world.is_local_main:
        world.barrier()
    cache = CacheOptions(
        config.cache or folder.cache, config.cache_gb, checked=not world.is_local_main
    )
    images = decode_all(
        manifest.files,
        manifest.images,
        config.image_size,
        cache,
        threads=threads if world.is_local_main else world.threads(threads),
        reporter=ctx.reporter,
    )
    if world.is_local_main:
        world.barrier()
    return images


def same_pictures(
    images: DecodedImages, files: NDArray[np.int64], threads: int
) -> NDArray[np.int64]:
    """Group files that show the same picture.

    Args:
        images: decoded.
        files: (N,) numbers of files.
        threads: files that are looked at together.

    Returns:
        int64 (N,): for each, the first place in ``files`` of one that shows the same.
    """
    numbers = files.tolist()
    with ThreadPoolExecutor(threads) as pool:
        looks = list(pool.map(lambda file: Look.of(images.pixels[file]), numbers))
    return duplicate_groups([images.sha256[file] for file in numbers], looks)


def default_name(out: Path) -> str:
    """Derive a model name from the run folder's name."""
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in out.name)
    return letters.strip("-_")[:64] or "model"
