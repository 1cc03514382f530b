"""The data of a run of the task ``classify``: images and their labels.

Images of one group (the same uploader, advertiser, original or picture) are in one split. Pictures
that more than MAX_OWNERS of them have are a group of their own, which may be in another split than
the other images of these; labels are learned from them, ranks are not. The validation share is
halved: one part chooses the epoch and the heads, the other, the calibration
split, fits temperatures and the thresholds of prediction sets and rules. What these promise holds
only if nothing else has seen their images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import PATH, SHA256, SPLIT
from augrank.errors import DataError
from augrank.images.augmentations import ORIGINAL, Augmentation, AugmentationSet
from augrank.manifest.text_column import TextColumn
from augrank.resources import usable_cores
from training.common.context import TrainContext
from training.common.ranking import draw_pairs
from training.config import FitConfig
from training.data.dataset import Dataset, decode_manifest, read_rows_of, same_pictures
from training.data.labels import Label, check_label
from training.data.manifest.label_manifest import LabelColumns, LabelManifest, check_label_manifest
from training.data.manifest.rows import fingerprint
from training.data.ranks import Rank
from training.data.samples import NOT_LABELLED, Samples
from training.data.splits import SPLITS, TEST, TRAIN, VALIDATION, split_originals
from training.run.folder import RunFolder

CALIBRATION = len(SPLITS)
MAX_OWNERS = 3  # groups that one picture may connect
SPLIT_NAMES = (*SPLITS, "calibration")
NO_AUGMENTATIONS = AugmentationSet(name="none", augmentations=(Augmentation(name=ORIGINAL),))


@dataclass(frozen=True, kw_only=True)
class ClassifyDataset(Dataset):
    """Labelled or ranked images."""

    manifest: LabelManifest
    files: NDArray[np.int64]  # (N,) numbers of the files that are used, ascending
    split: NDArray[np.int8]  # (N,)
    group: NDArray[np.int64]  # (N,) number of each image's group

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels; their values are by file."""
        return self.manifest.labels

    @property
    def classes(self) -> tuple[int, ...]:
        """The number of classes of each label; then 1 for each rank."""
        return (*(len(label.classes) for label in self.labels), *(1 for _ in self.ranks))

    @property
    def ranks(self) -> tuple[Rank, ...]:
        """The ranks; their scores are by file."""
        return self.manifest.ranks

    def samples(self, split: int) -> Samples:
        """Return the images of one split, with the class of every label, and their places."""
        file = self.files[self.split == split]
        answers = [label.value[file] for label in self.labels]
        answers += [rank.place[file] for rank in self.ranks]
        owner = next((rank.owner[file] for rank in self.ranks if rank.within), None)
        return Samples(file, np.zeros_like(file), np.stack(answers, axis=1), owner=owner)

    def groups(self, split: int) -> NDArray[np.int64]:
        """Return the group of each of ``samples``, (N,)."""
        return np.asarray(self.group[self.split == split])

    def training_files(self) -> NDArray[np.int64]:
        """Return the files of the training split, in the order of their names."""
        return np.asarray(self.files[self.split == TRAIN])

    def reference_files(self, count: int) -> NDArray[np.int64]:
        """Return files of the test split, evenly over their names: folders may be classes."""
        files = np.asarray(self.files[self.split == TEST])
        places = np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)
        return np.asarray(files[places])

    def catalogue(self) -> list[dict[str, str]]:
        """Return the rows of catalogue.csv: one for each image."""
        rows = []
        for file, split in zip(self.files.tolist(), self.split.tolist(), strict=True):
            known = {
                label.name: label.classes[label.value[file]]
                for label in self.labels
                if label.value[file] >= 0
            }
            blank = dict.fromkeys((label.name for label in self.labels), "")
            scores = {f"{rank.name}_score": _cell(rank.score[file]) for rank in self.ranks}
            rows.append(
                {
                    PATH: self.manifest.files[file],
                    SPLIT: SPLIT_NAMES[split],
                    SHA256: self.images.sha256[file],
                    **blank,
                    **known,
                    **scores,
                }
            )
        return rows

    def row_counts(self) -> dict[str, Any]:
        """Return the counts of rows for the record and the report."""
        return {
            "manifest": len(self.manifest.frame),
            "skipped": self.manifest.skipped,
            "files": len(self.files),
            "images": {s: int((self.split == n).sum()) for n, s in enumerate(SPLIT_NAMES)},
            "groups": len(np.unique(self.group)),
            "identical_images": self.copies,
            "labels": {label.name: label.counts for label in self.labels},
            "ranks": {
                rank.name: {
                    "within": rank.within,
                    "images": int((rank.standing[self.files] != NOT_LABELLED).sum()),
                }
                for rank in self.ranks
            },
        }

    def summary(self) -> str:
        """Describe the data in one line."""
        counts = self.row_counts()
        asked = [f"{each.name} ({len(each.classes)} classes)" for each in self.labels]
        for name, rank in counts["ranks"].items():
            within = f"within {rank['within']}" if rank["within"] else "among all"
            asked.append(f"{name} (ranked {within}, {rank['images']:,} images comparable)")
        images = ", ".join(f"{number:,} {split}" for split, number in counts["images"].items())
        return (
            f"{counts['files']:,} images in {counts['groups']:,} groups, {', '.join(asked)}: "
            + images
        )


def _cell(score: float) -> str:
    return f"{score:.12g}" if np.isfinite(score) else ""


def read_manifest(config: FitConfig) -> LabelManifest:
    """Read and validate the manifest of a config.

    Raises:
        DataError: the manifest or the images folder is missing or not valid.
    """
    table, images = read_rows_of(config)
    manifest = check_label_manifest(
        table,
        images,
        LabelColumns(
            labels=config.labels,
            groups=config.group,
            quantiles=config.quantiles,
            ranks=config.ranks,
            rank_within=config.rank_within,
        ),
        skip_bad_rows=config.skip_bad_rows,
    )
    for label in manifest.labels:
        check_label(label)
    return manifest


def load_dataset(config: FitConfig, manifest: LabelManifest, ctx: TrainContext) -> ClassifyDataset:
    """Decode the images of a manifest, and split them.

    Args:
        config: the options.
        manifest: the result of ``read_manifest``.
        ctx: in distributed training, one process of each machine decodes and the others wait.

    Raises:
        DataError: an image cannot be decoded, two files of the same image have different labels, or
            there are too few groups.
    """
    folder = RunFolder(config.out)
    images = decode_manifest(config, manifest, folder, ctx)
    contradicting = contradicting_files(manifest, images.sha256)
    manifest = manifest.without(contradicting | images.broken, skip=config.skip_bad_rows)
    files = manifest.shown
    threads = config.threads or usable_cores()
    copy_of = same_pictures(images, files, ctx.world.threads(threads))
    group, shared = joined_groups(manifest, files, copy_of)
    # What many have says nothing about one of them, who may then be in several splits.
    manifest = manifest.unranked(files[shared].tolist())
    split = _split(group, [manifest.files[file] for file in files.tolist()], config)
    data = ClassifyDataset(
        config=config,
        folder=folder,
        threads=ctx.world.threads(threads),
        threads_of_machine=threads,
        augmentations=NO_AUGMENTATIONS,
        manifest=manifest,
        images=images,
        data=fingerprint(manifest, images.sha256),
        copies=int((copy_of != np.arange(len(files))).sum()),
        files=files,
        split=split,
        group=group,
    )
    _check_classes(data)
    _check_ranks(data)
    return data


def contradicting_files(manifest: LabelManifest, sha256: Sequence[str]) -> dict[int, str]:
    """Return why files are left out whose bytes are those of a file with another label.

    All files of such bytes are left out: nothing tells which label is right.
    """
    same: dict[str, list[int]] = {}
    for file in manifest.shown.tolist():
        same.setdefault(sha256[file], []).append(file)
    bad: dict[int, str] = {}
    for copies in same.values():
        for label in manifest.labels:
            labelled = [file for file in copies if label.value[file] != NOT_LABELLED]
            for file in labelled:
                ours = label.value[file]
                others = [each for each in labelled if label.value[each] != ours]
                if others:
                    one, other = label.classes[ours], label.classes[label.value[others[0]]]
                    bad[file] = (
                        f"{label.name} is {one!r}, but {manifest.files[others[0]]} is the same "
                        f"image, and is {other!r}"
                    )
    return bad


def joined_groups(
    manifest: LabelManifest, files: NDArray[np.int64], copy_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the group of each file, (N,): those connected by a group column, or by a picture.

    A picture that many have, such as the placeholder of a provider, connects nobody: its copies are
    a group of their own. Also returned is which files show such a picture, (N,).

    Args:
        manifest: names the columns.
        files: (N,) numbers, ascending.
        copy_of: (N,) the first place in ``files`` of one that shows the same.
    """
    count, nodes, edges = len(files), len(files), list[NDArray[np.int64]]()
    place = np.searchsorted(files, manifest.file)  # of each row
    for name in manifest.groups:
        cells = TextColumn.of(manifest.frame[name])
        given = np.flatnonzero(~cells.blank)
        values, number = cells.select(given).numbered()
        edges.append(np.stack([place[given], nodes + number]))
        nodes += len(values)
    owner = _connected(edges, nodes)[:count]
    pairs = np.unique(np.stack([copy_of, owner]), axis=1)
    pictures, owners = np.unique(pairs[0], return_counts=True)
    shared = np.isin(copy_of, pictures[owners > MAX_OWNERS])
    kept = [edge[:, ~shared[edge[0]]] for edge in edges]
    group = _connected([*kept, np.stack([np.arange(count), copy_of])], nodes)[:count]
    return group, shared


def _connected(edges: Sequence[NDArray[np.int64]], nodes: int) -> NDArray[np.int64]:
    """Return the component of each node."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    start, end = np.concatenate([*edges, np.empty((2, 0), np.int64)], axis=1)
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _split(group: NDArray[np.int64], names: Sequence[str], config: FitConfig) -> NDArray[np.int8]:
    """Assign groups to splits; a group is named after its first file."""
    _, first = np.unique(group, return_index=True)
    leader = np.array([names[place] for place in first.tolist()], object)
    _, number = np.unique(group, return_inverse=True)
    if len(leader) < len(SPLIT_NAMES):
        raise DataError(
            "the images are of too few groups for training, validation, calibration and test",
            expected=f"at least {len(SPLIT_NAMES)} groups, and hundreds for useful results",
            got=f"{len(leader)} groups of {len(group):,} images",
            remedy="Images with the same uploader, advertiser or original are one group, and so "
            "are those that ranks compare; name other columns with --group, or --group '' for "
            "none, and so with --rank-within.",
        )
    split = split_originals(
        leader.tolist(),
        test_share=config.test_share,
        validation_share=max(config.validation_share, 2 / len(leader)),
        seed=config.seed,
    )
    validation = np.flatnonzero(split == VALIDATION).tolist()
    validation.sort(
        key=lambda place: hashlib.sha256(f"half:{config.seed}:{leader[place]}".encode()).digest()
    )
    split[validation[::2]] = CALIBRATION
    return np.asarray(split[number], np.int8)


def _check_classes(data: ClassifyDataset) -> None:
    """Check that every class can be learned, and tested.

    Raises:
        DataError: a class has no image in a split that needs one.
    """
    for label in data.labels:
        for split in (TRAIN, VALIDATION, CALIBRATION, TEST):
            value = label.value[data.files[data.split == split]]
            found = np.bincount(value[value >= 0], minlength=len(label.classes))
            missing = [name for name, n in zip(label.classes, found, strict=True) if not n]
            if (split == TRAIN and missing) or not found.any():
                name = (missing or label.classes)[0]
                raise DataError(
                    f"{label.name} has no image of {name!r} in the {SPLIT_NAMES[split]} split",
                    expected="several groups of images of every class",
                    got=f"{label.counts[name]:,} of {sum(label.counts.values()):,} images",
                    remedy="Add images of it, leave it out, or give another --seed.",
                )


def _check_ranks(data: ClassifyDataset) -> None:
    """Check that images can be compared in every split.

    Raises:
        DataError: in a split no two images can be compared.
    """
    for rank in data.ranks:
        for split, name in enumerate(SPLIT_NAMES):
            file = data.files[data.split == split]
            if not len(draw_pairs(rank.score[file], rank.owner[file], data.config.seed)):
                within = f" of the same {rank.within}" if rank.within else ""
                raise DataError(
                    f"{rank.name} compares no images in the {name} split",
                    expected=f"images{within} with different scores in each split, and hundreds "
                    "for useful results",
                    got=f"{int((rank.standing != NOT_LABELLED).sum()):,} images in all that can be "
                    "compared",
                    remedy="Add images with other scores"
                    + (", or compare all images with --rank-within ''." if within else "."),
                )
