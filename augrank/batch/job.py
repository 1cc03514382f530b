"""A scoring job: the items of a folder or manifest, and the options for all of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.contracts.manifest import PATH, PRODUCT_TYPE
from augrank.contracts.run import Precision
from augrank.errors import BadRequest
from augrank.images.augmentations import ORIGINAL
from augrank.images.files import IMAGE_SUFFIXES, image_files
from augrank.models.context import BLANK
from augrank.models.engines import Device

BATCH = 8  # images in one call of a pipeline
MAX_SHOWN_VALUES = 10
REVIEW_KIND = "review_kind"
CONFIGURED = "configured"  # tags that win, by label, in the context of an item to classify
CONFIGURED_COLUMN = "configured_"  # and a label: a manifest's column of them


@dataclass(frozen=True, slots=True)  # a job may have a hundred million
class Item:
    """An image and the context to score it under."""

    number: int
    path: str  # relative to the images folder
    context: Mapping[str, Any]
    augmentation: str = ORIGINAL  # already applied to the file
    error: str | None = None  # why the row cannot be scored


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """The bundle that every item is scored with, and the images."""

    bundle: Path
    images: Path
    precision: Precision | None = None  # of the graph, which has its own heads; None: preferred
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class RecommendJob(ScoringJob):
    """A job of the task ``recommend``: a row for each image, context and target."""

    targets: tuple[str, ...]
    candidates: tuple[str, ...] | None = None
    alternates: int = 0
    min_lift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClassifyJob(ScoringJob):
    """A job of the task ``classify``: a row for each image."""

    coverage: float  # of prediction sets


@dataclass(frozen=True)
class Items:
    """What to score, and what its reader has to say about it."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


def items_of_folder(folder: Path, context: Mapping[str, Any]) -> Items:
    """Return every image file below a folder, sorted by name, all with one context.

    Raises:
        BadRequest: there are no images.
    """
    found = image_files(folder)
    if not found.files:
        raise BadRequest(
            "there are no images",
            expected=f"files {', '.join(IMAGE_SUFFIXES)}",
            got=f"{folder}" + (f", {found.note}" if found.note else ""),
        )
    items = (Item(number, path, context) for number, path in enumerate(found.files))
    return Items(tuple(items), (found.note,) if found.note else ())


def items_of_manifest(
    file: Path,
    images: Path,
    spec: RecommendSpec,
    context: Mapping[str, Any],
    columns: Mapping[str, str] = {},
) -> Items:
    """Return the rows of a manifest, as training reads it; its columns override ``context``.

    Args:
        file: the manifest.
        images: the folder that its paths are relative to.
        spec: of the bundle.
        context: of all rows, where a column does not say otherwise.
        columns: our column names to the file's, for those that differ.

    Raises:
        DataError: it cannot be read, or has no column of images.
    """
    # Workers import this module, and not pandas.
    from augrank.manifest.columns import check_augmentations, check_originals
    from augrank.manifest.paths import check_paths
    from augrank.manifest.problems import Problems
    from augrank.manifest.read import read_table
    from augrank.manifest.text_column import TextColumn

    table = read_table(file, columns)
    frame, problems = table.frame, Problems.of(table)
    names = spec.augmentations.names
    paths = check_paths(frame[PATH], images, problems)
    applied = check_augmentations(frame, names, problems)
    originals = check_originals(frame, paths, problems)
    # The file of a row that names no other as its original is the original, whatever was applied
    # to it when it was shown.
    applied = np.where(originals.equals(paths), names.index(ORIGINAL), applied)
    present = [
        name
        for name in dict.fromkeys([*(column.name for column in spec.context), PRODUCT_TYPE])
        if name in frame.columns
    ]
    cells = [TextColumn.of(frame[name]) for name in present]
    contexts = zip(*cells, strict=True) if cells else repeat(())
    items = []
    for number, (path, values) in enumerate(zip(paths, contexts, strict=False)):
        given = {name: value for name, value in zip(present, values, strict=True) if value}
        reason = problems.reasons.get(number)
        error = f"{table.unit} {table.lines[number]}: {reason}" if reason else None
        item = Item(number, path, {**context, **given}, names[applied[number]], error)
        items.append(item)
    return Items(tuple(items), table.notes)


def items_of_labels_manifest(
    file: Path,
    images: Path,
    spec: ClassifySpec,
    context: Mapping[str, Any],
    columns: Mapping[str, str] = {},
) -> Items:
    """Return the rows of a manifest to classify; its columns override ``context``.

    These are ``review_kind``, and ``configured_LABEL`` for tags of the bundle.

    Args:
        file: the manifest.
        images: the folder that its paths are relative to.
        spec: of the bundle; without rules, review kinds are ignored.
        context: the result of ``review_context`` for rows whose cells are blank.
        columns: our column names to the file's, for those that differ.

    Raises:
        DataError: it cannot be read, or has no column of images.
    """
    from augrank.manifest.paths import check_paths
    from augrank.manifest.problems import Problems
    from augrank.manifest.read import read_table
    from augrank.manifest.text_column import TextColumn

    table = read_table(file, columns)
    frame, problems = table.frame, Problems.of(table)
    paths = check_paths(frame[PATH], images, problems)
    given, notes = REVIEW_KIND in frame.columns, table.notes
    if given and spec.rules is None:
        given, notes = False, (*notes, f"{REVIEW_KIND} is ignored: the bundle has no rules")
    kinds = TextColumn.of(frame[REVIEW_KIND]) if given else repeat("")
    columns_of = {
        name.removeprefix(CONFIGURED_COLUMN): name
        for name in frame.columns
        if name.startswith(CONFIGURED_COLUMN)
    }
    labels = [label for label in columns_of if label in spec.tags]
    for label, name in columns_of.items():
        if label not in labels:
            notes = (*notes, f"{name} is ignored: the bundle has no tag {label}")
    cells = [TextColumn.of(frame[columns_of[label]]) for label in labels]
    tags = zip(*cells, strict=True) if cells else repeat(())
    items = []
    for number, (path, kind, values) in enumerate(zip(paths, kinds, tags, strict=False)):
        reason = problems.reasons.get(number)
        error = f"{table.unit} {table.lines[number]}: {reason}" if reason else None
        own = {label: value for label, value in zip(labels, values, strict=True) if value}
        configured = {**context.get(CONFIGURED, {}), **own}
        of_row = review_context(kind or context.get(REVIEW_KIND), configured)
        items.append(Item(number, path, of_row, error=error))
    return Items(tuple(items), notes)


def review_context(review_kind: str | None, configured: Mapping[str, str] = {}) -> dict[str, Any]:
    """Return the context of an item to classify."""
    context: dict[str, Any] = {} if review_kind is None else {REVIEW_KIND: review_kind}
    return {**context, CONFIGURED: dict(configured)} if configured else context


def check_context(spec: RecommendSpec, items: Sequence[Item]) -> None:
    """Check that a context column that every request needs is given in some.

    Raises:
        BadRequest: names the column, and the values that training saw.
    """
    given = {name for item in items for name in item.context}
    for column in spec.context:
        optional = column.kind == "categorical" and BLANK in column.values
        if column.name not in given and not optional:
            values = column.values if column.kind == "categorical" else ("a number",)
            shown = ", ".join(values[:MAX_SHOWN_VALUES])
            more = ", ..." if len(values) > MAX_SHOWN_VALUES else ""
            raise BadRequest(
                f"context {column.name!r} is missing in every row",
                expected=f"a column {column.name}, or one value for all: {shown}{more}",
                remedy=f"Give --context {column.name}=VALUE, or name the column: --column "
                f"{column.name}=NAME.",
            )


def fingerprint(job: ScoringJob, items: Sequence[Item], shard: int) -> str:
    """Return a sha256 of everything that determines the rows, and of the shard size."""
    digest = hashlib.sha256(f"{shard} {load_bundle(job.bundle).digest}".encode())
    options = {**asdict(job), "bundle": "", "images": str(job.images.resolve()), "device": ""}
    digest.update(json.dumps(options, sort_keys=True).encode())
    for item in items:
        content = {  # as asdict(item), which copies and takes three times as long
            "number": item.number,
            "path": item.path,
            "context": item.context,
            "augmentation": item.augmentation,
            "error": item.error,
        }
        digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    return digest.hexdigest()
