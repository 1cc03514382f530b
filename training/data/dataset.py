"""The dataset of a run: manifest, decoded images and splits, from a config.

It does not import torch, which takes seconds, so that a finished run is recognised at once.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import PATH, SHA256, SPLIT
from augrank.errors import DataError
from augrank.images.augmentations import AugmentationSet, augmentation_set
from augrank.manifest.read import read_table
from augrank.models.context import ContextColumn
from augrank.resources import usable_cores
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.duplicates import Look, duplicate_groups
from training.data.embedding_cache import row_name
from training.data.image_cache.sources import CacheOptions, DecodedImages, decode_all
from training.data.manifest.context import context_columns, encode_context
from training.data.manifest.manifest import (
    Manifest,
    ManifestOptions,
    attribute_columns,
    check_manifest,
    fingerprint,
)
from training.data.manifest.targets import Outcomes, find_targets, outcomes
from training.data.samples import Samples
from training.data.splits import SPLITS, split_originals
from training.run.folder import RunFolder


@dataclass(frozen=True)
class Dataset:
    """The data for training and testing a run."""

    config: FitConfig
    folder: RunFolder
    threads: int  # of this process, when others train on the same machine
    threads_of_machine: int  # of a process that has the machine to itself
    augmentations: AugmentationSet
    manifest: Manifest
    images: DecodedImages
    split: NDArray[np.int8]  # (originals,)
    original_file: NDArray[np.int64]  # (originals,) number of the original's own file, or -1
    context: tuple[ContextColumn, ...]
    contexts: NDArray[np.float32]  # (K, C) distinct encoded contexts
    context_row: NDArray[np.int64]  # (manifest rows,) index into contexts
    outcomes: tuple[Outcomes, ...]
    data: str  # sha256 of manifest and images
    copies: int  # originals that show the same picture as another one

    @property
    def fingerprint(self) -> str:
        """The sha256 of the decisive options and the data."""
        text = json.dumps(self.config.decisive(), sort_keys=True) + self.augmentations.hash
        return hashlib.sha256((text + self.data).encode()).hexdigest()

    def samples(self, split: int) -> Samples:
        """Return the images that the backbone classifies in one split.

        These are every augmentation of every original, and the files that are already augmented.
        """
        count = len(self.augmentations.names)
        files = self.original_file[(self.split == split) & (self.original_file >= 0)]
        file, label = np.repeat(files, count), np.tile(np.arange(count), len(files))
        augmented = self._augmented_files()
        augmented = augmented[self.split[augmented[:, 1]] == split]
        return Samples(
            np.concatenate([file, augmented[:, 0]]),
            np.concatenate([label, np.zeros(len(augmented), np.int64)]),
            np.concatenate([label, augmented[:, 2]]),
        )

    def pair_names(self, keys: NDArray[np.int64]) -> list[bytes]:
        """Return the embedding cache's names of (file, augmentation) pairs, see ``pair_keys``."""
        hashes = [augmentation.hash for augmentation in self.augmentations.augmentations]
        sha256 = self.images.sha256
        pairs = (divmod(key, len(hashes)) for key in keys.tolist())
        return [row_name(sha256[file], hashes[applied]) for file, applied in pairs]

    def catalogue(self) -> list[dict[str, str]]:
        """Return the rows of catalogue.csv: one per original that has a file."""
        manifest = self.manifest
        attributes = list(attribute_columns(manifest))
        first_row = np.zeros(len(manifest.originals), np.int64)
        first_row[manifest.original[::-1]] = np.arange(len(manifest.frame))[::-1]
        values = manifest.frame[attributes].iloc[first_row].to_dict("records")
        return [
            {
                PATH: manifest.originals[number],
                SPLIT: SPLITS[self.split[number]],
                SHA256: self.images.sha256[self.original_file[number]],
                **values[number],
            }
            for number in range(len(manifest.originals))
            if self.original_file[number] >= 0
        ]

    def row_counts(self) -> dict[str, Any]:
        """Return the counts of rows for the record and the report."""
        manifest = self.manifest
        row_split = self.split[manifest.original]
        return {
            "manifest": len(manifest.frame),
            "skipped": manifest.skipped,
            "files": len(np.unique(manifest.file)),
            "originals": {s: int((self.split == n).sum()) for n, s in enumerate(SPLITS)},
            "shown": {s: int((row_split == n).sum()) for n, s in enumerate(SPLITS)},
            "identical_originals": self.copies,
        }

    def _augmented_files(self) -> NDArray[np.int64]:
        """Return (file, original, label) of the files that are not originals, int64 (M, 3)."""
        manifest = self.manifest
        own = self.original_file[manifest.original] == manifest.file
        rows = np.stack([manifest.file, manifest.original, manifest.label], axis=1)[~own]
        return np.unique(rows, axis=0)


def read_manifest(config: FitConfig) -> Manifest:
    """Read and validate the manifest of a config.

    Raises:
        DataError: the manifest or the images folder is missing or not valid.
    """
    source = config.manifest or config.images
    if source is None:
        raise DataError("there is no manifest", remedy="Give --manifest or --images.")
    images = config.images or (source if source.is_dir() else source.parent)
    if not images.is_dir():
        raise DataError(f"there is no folder {images}", remedy="Check --images.")
    return check_manifest(
        read_table(source, config.columns),
        images,
        augmentation_set(config.augmentations, config.seed).names,
        ManifestOptions(
            targets=config.targets,
            context=config.context,
            context_types=config.context_types,
            skip_bad_rows=config.skip_bad_rows,
        ),
    )


def load_dataset(config: FitConfig, manifest: Manifest, ctx: TrainContext) -> Dataset:
    """Decode the images of a manifest, and split it.

    Args:
        config: the options.
        manifest: the result of ``read_manifest``.
        ctx: in distributed training, one process of each machine decodes and the others wait.

    Raises:
        DataError: an image cannot be decoded, or there are too few originals.
    """
    folder = RunFolder(config.out)
    if ctx.world.is_main:
        folder.create()
        for note in manifest.notes:
            ctx.reporter.say(f"Manifest: {note}")
    images = _decode(config, manifest, folder, ctx)
    manifest = manifest.without(images.broken, skip=config.skip_bad_rows)
    original_file = _original_files(manifest)
    threads = config.threads or usable_cores()
    groups = _duplicate_groups(manifest, images, original_file, ctx.world.threads(threads))
    split = split_originals(
        groups,
        test_share=config.test_share,
        validation_share=config.validation_share,
        seed=config.seed,
    )
    columns = context_columns(manifest.frame, manifest.context, manifest.numeric)
    contexts, context_row = encode_context(manifest.frame, columns)
    targets = find_targets(manifest.frame, config.targets)
    return Dataset(
        config=config,
        folder=folder,
        threads=ctx.world.threads(threads),
        threads_of_machine=threads,
        augmentations=augmentation_set(config.augmentations, config.seed),
        manifest=manifest,
        images=images,
        split=split,
        original_file=original_file,
        context=columns,
        contexts=contexts,
        context_row=context_row,
        outcomes=tuple(outcomes(manifest.frame, name, config.directions) for name in targets),
        data=fingerprint(manifest, images.sha256),
        copies=len(groups) - len(set(groups)),
    )


def _decode(
    config: FitConfig, manifest: Manifest, folder: RunFolder, ctx: TrainContext
) -> DecodedImages:
    """Decode all images: the first process of a machine with all threads, the others after it."""
    world, threads = ctx.world, config.threads or usable_cores()
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


def _original_files(manifest: Manifest) -> NDArray[np.int64]:
    """Return the number of each original's own file, or -1 if no valid row shows it."""
    shown = set(np.unique(manifest.file).tolist())
    number = {name: n for n, name in enumerate(manifest.files) if n in shown}
    files = np.array([number.get(name, -1) for name in manifest.originals], np.int64)
    if (files < 0).all():
        raise DataError(
            "no row shows an original without augmentation",
            expected="the files of the originals, to make candidates from",
            got=f"{len(files):,} originals that are named, but have no row",
            remedy="Add a row for each original; its outcomes may be blank.",
        )
    return files


def _duplicate_groups(
    manifest: Manifest, images: DecodedImages, original_file: NDArray[np.int64], threads: int
) -> list[str]:
    """Return a group name for each original: those that show the same picture share one."""
    names, known = list(manifest.originals), np.flatnonzero(original_file >= 0)
    files = original_file[known].tolist()
    with ThreadPoolExecutor(threads) as pool:
        looks = list(pool.map(lambda file: Look.of(images.pixels[file]), files))
    groups = duplicate_groups([images.sha256[file] for file in files], looks)
    for place, group in zip(known.tolist(), known[groups].tolist(), strict=True):
        names[place] = manifest.originals[group]
    return names


def default_name(out: Path) -> str:
    """Derive a model name from the run folder's name."""
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in out.name)
    return letters.strip("-_")[:64] or "model"
