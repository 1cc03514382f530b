"""The data of a run of the task ``recommend``: shown images, their campaigns and outcomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import PATH, SHA256, SPLIT
from augrank.errors import DataError
from augrank.images.augmentations import augmentation_set
from augrank.models.context import ContextColumn
from augrank.resources import usable_cores
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.dataset import Dataset, decode_manifest, read_rows_of, same_pictures
from training.data.image_cache.sources import DecodedImages
from training.data.manifest.context import context_columns, encode_context
from training.data.manifest.manifest import (
    Manifest,
    ManifestOptions,
    attribute_columns,
    check_manifest,
)
from training.data.manifest.rows import fingerprint
from training.data.manifest.targets import TargetOutcomes, find_targets
from training.data.samples import Samples
from training.data.splits import SPLITS, TEST, TRAIN, split_originals
from training.run.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class RecommendDataset(Dataset):
    """Originals, their augmented versions, and what came of showing them."""

    manifest: Manifest
    split: NDArray[np.int8]  # (originals,)
    original_file: NDArray[np.int64]  # (originals,) number of the original's own file, or -1
    context: tuple[ContextColumn, ...]
    contexts: NDArray[np.float32]  # (K, C) distinct encoded contexts
    context_row: NDArray[np.int64]  # (manifest rows,) index into contexts
    outcomes: TargetOutcomes

    @property
    def classes(self) -> tuple[int, ...]:
        """The number of augmentations, which the network learns to recognise."""
        return (len(self.augmentations.names),)

    def training_files(self) -> NDArray[np.int64]:
        """Return the originals of the training split, in the order of their names."""
        return self._original_files(TRAIN)

    def reference_files(self, count: int) -> NDArray[np.int64]:
        """Return the first originals of the test split, in the order of their names."""
        return self._original_files(TEST)[:count]

    def _original_files(self, split: int) -> NDArray[np.int64]:
        of_split = (self.split == split) & (self.original_file >= 0)
        return np.asarray(self.original_file[of_split])

    def summary(self) -> str:
        """Describe the data in one line."""
        counts = self.row_counts()["originals"]
        return (
            f"{len(self.manifest.frame):,} rows, {len(self.manifest.originals):,} originals: "
            + ", ".join(f"{counts[split]:,} {split}" for split in counts)
        )

    def samples(self, split: int) -> Samples:
        """Return the images that the network learns from, or is tested on, in one split.

        These are every augmentation of every original, and the files that are already augmented.
        """
        count = len(self.augmentations.names)
        files = self._original_files(split)
        file, label = np.repeat(files, count), np.tile(np.arange(count), len(files))
        augmented = self._augmented_files()
        augmented = augmented[self.split[augmented[:, 1]] == split]
        shown = np.concatenate([label, augmented[:, 2]])
        applied = np.concatenate([label, np.zeros(len(augmented), np.int64)])
        # A file that was augmented elsewhere must not be mirrored after that.
        return Samples(
            np.concatenate([file, augmented[:, 0]]), applied, shown, mirrored=applied == shown
        )

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
    table, images = read_rows_of(config)
    return check_manifest(
        table,
        images,
        augmentation_set(config.augmentations, config.seed).names,
        ManifestOptions(
            targets=config.targets,
            context=config.context,
            context_types=config.context_types,
            skip_bad_rows=config.skip_bad_rows,
        ),
    )


def load_dataset(config: FitConfig, manifest: Manifest, ctx: TrainContext) -> RecommendDataset:
    """Decode the images of a manifest, and split it.

    Args:
        config: the options.
        manifest: the result of ``read_manifest``.
        ctx: in distributed training, one process of each machine decodes and the others wait.

    Raises:
        DataError: an image cannot be decoded, or there are too few originals.
    """
    folder = RunFolder(config.out)
    images = decode_manifest(config, manifest, folder, ctx)
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
    return RecommendDataset(
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
        outcomes=TargetOutcomes(manifest.frame, targets, dict(config.directions)),
        data=fingerprint(manifest, images.sha256),
        copies=len(groups) - len(set(groups)),
    )


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
    groups = same_pictures(images, original_file[known], threads)
    for place, group in zip(known.tolist(), known[groups].tolist(), strict=True):
        names[place] = manifest.originals[group]
    return names
