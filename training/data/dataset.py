"""From a config to checked, decoded, split data. Needs no torch, so that a finished run is
recognised at once.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import PATH, SHA256, SPLIT
from augrank.errors import DataError
from augrank.images.augmentations import AugmentationSet, augmentation_set
from augrank.models.context import ContextColumn
from augrank.resources import usable_cores
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.embedding_cache import row_name
from training.data.image_cache.sources import DecodedImages, decode_all
from training.data.manifest.manifest import (
    Manifest,
    Outcomes,
    attribute_columns,
    check_manifest,
    context_columns,
    encode_context,
    find_context,
    find_targets,
    fingerprint,
    outcomes,
)
from training.data.manifest.read import read_table
from training.data.samples import Samples
from training.data.splits import SPLITS, split_originals
from training.run.folder import RunFolder


@dataclass(frozen=True)
class Prepared:
    """All that training works on."""

    config: FitConfig
    folder: RunFolder
    threads: int  # of this process, while others train beside it
    threads_of_machine: int
    augmentations: AugmentationSet
    manifest: Manifest
    images: DecodedImages
    split: NDArray[np.int8]  # (originals,)
    original_file: NDArray[np.int64]  # (originals,) the original's own file, or -1
    context: tuple[ContextColumn, ...]
    contexts: NDArray[np.float32]  # (K, C)
    context_row: NDArray[np.int64]  # (manifest rows,)
    outcomes: tuple[Outcomes, ...]
    data: str  # sha256 of manifest and images
    copies: int  # originals that are byte for byte copies of others

    @property
    def fingerprint(self) -> str:
        """sha256 of the decisive options and the data."""
        text = json.dumps(self.config.decisive(), sort_keys=True) + self.augmentations.hash
        return hashlib.sha256((text + self.data).encode()).hexdigest()

    def samples(self, split: int) -> Samples:
        """What the backbone tells apart in one split: every augmentation of every original there,
        and the images that came changed already.
        """
        count = len(self.augmentations.names)
        files = self.original_file[(self.split == split) & (self.original_file >= 0)]
        file, label = np.repeat(files, count), np.tile(np.arange(count), len(files))
        changed = self._changed_files()
        changed = changed[self.split[changed[:, 1]] == split]
        return Samples(
            np.concatenate([file, changed[:, 0]]),
            np.concatenate([label, np.zeros(len(changed), np.int64)]),
            np.concatenate([label, changed[:, 2]]),
        )

    def pair_names(self, keys: NDArray[np.int64]) -> list[bytes]:
        """What the cache calls (file, augmentation) pairs, of ``pair_keys``."""
        hashes = [augmentation.hash for augmentation in self.augmentations.augmentations]
        sha256 = self.images.sha256
        places = (divmod(key, len(hashes)) for key in keys.tolist())
        return [row_name(sha256[file], hashes[applied]) for file, applied in places]

    def catalogue(self) -> list[dict[str, str]]:
        """One row per original whose file is there."""
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
        """Counts for the record and the report."""
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

    def _changed_files(self) -> NDArray[np.int64]:
        """(file, original, label) of files that are no original's own, int64 (M, 3)."""
        manifest = self.manifest
        own = self.original_file[manifest.original] == manifest.file
        rows = np.stack([manifest.file, manifest.original, manifest.label], axis=1)[~own]
        return np.unique(rows, axis=0)


def read_manifest(config: FitConfig) -> Manifest:
    """Read and check, which takes no torch and is soon done.

    Raises:
        DataError: whatever is wrong with the manifest.
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
        targets=config.targets,
        context=config.context,
        skip_bad_rows=config.skip_bad_rows,
    )


def prepare(config: FitConfig, manifest: Manifest, ctx: TrainContext) -> Prepared:
    """Decode and split.

    Args:
        config: the options.
        manifest: of ``read_manifest``.
        ctx: one process of each machine decodes.

    Raises:
        DataError: whatever is wrong with the images.
    """
    folder, world = RunFolder(config.out), ctx.world
    if world.is_main:
        folder.claim()
        for note in manifest.notes:
            ctx.reporter.say(f"Manifest: {note}")
    of_machine = config.threads or usable_cores()
    threads = world.threads(of_machine)
    if not world.is_local_main:
        world.barrier()
    images = decode_all(
        manifest.files,
        manifest.images,
        config.image_size,
        config.cache or folder.cache,
        limit_gb=config.cache_gb,
        threads=of_machine if world.is_local_main else threads,  # the others wait
        reporter=ctx.reporter,
        checked=not world.is_local_main,
    )
    if world.is_local_main:
        world.barrier()
    manifest = manifest.without(images.broken, skip=config.skip_bad_rows)
    original_file = _original_files(manifest)
    group = _groups(manifest, images, original_file)
    columns = context_columns(manifest, find_context(manifest.frame, config.context))
    contexts, context_row = encode_context(manifest, columns)
    return Prepared(
        config=config,
        folder=folder,
        threads=threads,
        threads_of_machine=of_machine,
        augmentations=augmentation_set(config.augmentations, config.seed),
        manifest=manifest,
        images=images,
        split=split_originals(
            group,
            test_share=config.test_share,
            validation_share=config.validation_share,
            seed=config.seed,
        ),
        original_file=original_file,
        context=columns,
        contexts=contexts,
        context_row=context_row,
        outcomes=tuple(
            outcomes(manifest, name, config.directions)
            for name in find_targets(manifest.frame, config.targets)
        ),
        data=fingerprint(manifest, images.sha256),
        copies=len(group) - len(set(group)),
    )


def _original_files(manifest: Manifest) -> NDArray[np.int64]:
    """Number of each original's own file, or -1 where it is not shown (any more)."""
    shown = set(np.unique(manifest.file).tolist())
    number = {name: place for place, name in enumerate(manifest.files) if place in shown}
    files = np.array([number.get(name, -1) for name in manifest.originals], np.int64)
    if (files < 0).all():
        raise DataError(
            "no row shows an original as it is",
            expected="the originals' own images, to make candidates from",
            got=f"{len(files):,} originals that are named but not shown",
            remedy="Add a row for each original; its outcomes may stay blank.",
        )
    return files


def _groups(
    manifest: Manifest, images: DecodedImages, original_file: NDArray[np.int64]
) -> list[str]:
    """A name for each original; originals with the same bytes share that of the first."""
    first: dict[str, str] = {}
    return [
        first.setdefault(images.sha256[file], name) if file >= 0 else name
        for name, file in zip(manifest.originals, original_file.tolist(), strict=True)
    ]


def default_name(out: Path) -> str:
    """A model name from the run folder's."""
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in out.name)
    return letters.strip("-_")[:64] or "model"
